"""Corpus shards and vocabularies in, gzip TFRecord files out, one a shard and model."""

import contextlib
import dataclasses
import functools
import hashlib
from collections.abc import Iterator
from typing import IO, Any

import numpy as np
from numpy.random import SFC64
from numpy.typing import NDArray
from zlib_ng import zlib_ng

from stages.command.refusal import Refusal
from stages.formats.corpus import documents
from stages.formats.encoding import MOST
from stages.formats.examples import COUNTS, Masking, ordinary
from stages.handover import storage
from stages.handover.manifests import MANIFEST, read_json, read_manifest, write_json
from stages.handover.storage import sha256, whole_file
from stages.tfrecords.blocks import blocks
from stages.tfrecords.options import MODELS, Options
from stages.tfrecords.records import records
from stages.tfrecords.tokens import Words, look_up, split
from stages.words import vocabulary_file
from stages.words.compiled_words import CompiledVocabulary

# zlib-ng's level 1: 12 µs and 0.96 kB an example, level 2 22 µs and 0.81 kB. isal's level 1 takes 7 µs for 0.82 kB, but
# its bytes depend on where in memory its buffers come to lie: in 4 of 124 processes some of 400 streams were not those
# of the others (isal 1.9.1, levels 1 and 2; level 0 and zlib-ng: none).
GZIP_LEVEL = 1


@dataclasses.dataclass(frozen=True)
class Shard:
    """One task: a corpus shard, to be written as one file for each of the models."""

    corpus: str
    number: int
    name: str
    described: dict[str, Any]
    vocabularies: dict[str, str]  # model → path of its vocab.txt
    out: str
    options: Options
    finished: tuple[str, ...] = ()  # models whose file a run before this one has written


def open_vocabulary(folder: str, model: str) -> tuple[str, dict[str, int]]:
    """Path and entries of a model's vocabulary, one that `vocab` made or any other of this form."""
    path = storage.join(folder, model, "vocab.txt")
    try:
        entries = vocabulary_file.read(path)
    except OSError as error:
        raise Refusal(f"cannot read {path}: {error.strerror}; make vocab writes it")
    except ValueError as error:
        raise Refusal(str(error))
    if storage.exists(storage.join(folder, MANIFEST)):
        described = read_manifest(folder, "vocab")["files"].get(f"{model}/vocab.txt", {})
        if described.get("sha256") != sha256(path):
            raise Refusal(f"{path} is not what make vocab wrote (its SHA-256 differs); make the vocabulary again")
    if not ordinary(entries):
        raise Refusal(f"{path} has special entries only; a masked token could be replaced by none")
    if len(entries) > MOST:
        raise Refusal(f"{path} has {len(entries):,} entries, and examples hold ids of at most {MOST - 1:,}")
    return path, entries


def file_name(shard: int) -> str:
    """The name of a shard's TFRecord file."""
    return f"pretrain_{shard:05d}.tfrecord.gz"


def _record(name: str) -> str:
    """The file in which a finished one is described until the manifest does it."""
    return f".{name}.json"


def finished_models(shard: int, present: dict[str, frozenset[str]]) -> tuple[str, ...]:
    """The models whose file of a shard is written; `present`: the names in each model's folder."""
    name = file_name(shard)
    return tuple(model for model, names in present.items() if {name, _record(name)} <= names)


def write_shard(shard: Shard) -> dict[str, dict[str, Any]]:
    """Write the files of a shard that are not there yet; gives model → what the manifest says of the file.

    The shard is read in blocks. The words of each are split once for all models and copies. The randomness of a
    block comes from the run's seed, the shard's number, the model and the block's number, so it is the same in any
    order of shards and on any number of processes.
    """
    name = file_name(shard.number)
    done = {model: read_json(storage.join(shard.out, model, _record(name))) for model in shard.finished}
    missing = [model for model in shard.vocabularies if model not in done]
    if not missing:
        return done

    files = {model: _File(shard, model) for model in missing}
    with contextlib.ExitStack() as stack:
        written = {model: stack.enter_context(_gzip(file.path)) for model, file in files.items()}
        for number, block in enumerate(blocks(documents(shard.corpus, shard.name, shard.described))):
            words = split(block)
            for model, file in files.items():
                for data in file.records(number, words):
                    written[model].write(data)
    for model, file in files.items():
        done[model] = {**written[model].described(), **file.described()}
        write_json(storage.join(shard.out, model, _record(name)), done[model])
    return done


class _File:
    """What goes into a shard's file for one model, and what the manifest says of it."""

    def __init__(self, shard: Shard, model: str) -> None:
        options = shard.options
        self.path = storage.join(shard.out, model, file_name(shard.number))
        self.options = options
        self.seed = [options.seed, shard.number, MODELS.index(model)]
        entries, self.vocabulary = _vocabulary(shard.vocabularies[model], model)
        self.masking = Masking(
            entries,
            options.seq_length,
            options.max_predictions,
            options.masked_lm_prob,
            options.ngram,
            options.unmasked,
        )

    def records(self, block: int, words: Words) -> Iterator[NDArray[np.uint8]]:
        """The TFRecords of a block, in pieces."""
        # The fastest bit generator of numpy (3.2 ns a draw, PCG64DXSM 3.5, Philox 9.2); it repeats after 2^64 draws at
        # the earliest, and is seeded through a hash, so that neighbouring seeds have nothing in common.
        generator = SFC64([*self.seed, block])
        tokens = look_up(words, self.vocabulary)
        return records(generator, tokens, self.masking, self.options.dupe_factor, self.options.short_seq_prob)

    def described(self) -> dict[str, Any]:
        """What the file's examples count up to."""
        numbers = self.masking.counts.tolist()
        ngrams = {str(n): number for n, number in enumerate(numbers[len(COUNTS) :], 1)}
        return {**dict(zip(COUNTS, numbers, strict=False)), "ngrams": ngrams}


@functools.cache
def _vocabulary(path: str, model: str) -> tuple[dict[str, int], CompiledVocabulary]:
    """A model's vocabulary, read once a process."""
    entries = vocabulary_file.read(path)
    return entries, CompiledVocabulary(entries, by_character=model == "character")


class _Gzip:
    """A gzip file in the making. Its bytes are described as they go, since they may go to Cloud Storage."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        # wbits 31: a gzip stream; its header holds neither name nor time.
        self._gzip = zlib_ng.compressobj(GZIP_LEVEL, wbits=31)
        self._digest = hashlib.sha256()
        self._bytes = 0

    def write(self, data: NDArray[np.uint8]) -> None:
        self._put(self._gzip.compress(data))

    def end(self) -> None:
        self._put(self._gzip.flush())

    def described(self) -> dict[str, Any]:
        """What `describe` says of the finished file."""
        return {"bytes": self._bytes, "sha256": self._digest.hexdigest()}

    def _put(self, block: bytes) -> None:
        self._stream.write(block)
        self._digest.update(block)
        self._bytes += len(block)


@contextlib.contextmanager
def _gzip(path: str) -> Iterator[_Gzip]:
    """Write a gzip file, whole or not at all."""
    with whole_file(path) as stream:
        gzip = _Gzip(stream)
        yield gzip
        gzip.end()


def forget_records(folder: str, names: list[str]) -> None:
    """Remove the descriptions that the manifest now holds."""
    storage.remove_all(folder, [_record(name) for name in names])
