"""Corpus shards and vocabularies → gzip TFRecord files, one for each shard and model."""

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
# its bytes depend on the addresses of its buffers: in 4 of 124 processes some of 400 streams differed from those of
# the other processes (isal 1.9.1, levels 1 and 2; level 0 and zlib-ng: none).
GZIP_LEVEL = 1


@dataclasses.dataclass(frozen=True)
class Shard:
    """One task: a corpus shard, and the models for which its files are written."""

    corpus: str
    number: int
    name: str
    description: dict[str, Any]  # in the manifest of the corpus
    vocabularies: dict[str, str]  # model → path of its vocab.txt
    out: str
    options: Options
    finished: tuple[str, ...] = ()  # models whose file an earlier run has written


def open_vocabulary(folder: str, model: str) -> tuple[str, dict[str, int]]:
    """Path and entries of a model's vocabulary, from `vocab` or from elsewhere.

    Refuses a vocabulary that is missing, invalid, or has other bytes than its manifest says.
    """
    path = storage.join(folder, model, "vocab.txt")
    try:
        entries = vocabulary_file.read(path)
    except OSError as error:
        raise Refusal(f"cannot read {path}: {error.strerror}; make vocab writes it")
    except ValueError as error:
        raise Refusal(str(error))
    if storage.exists(storage.join(folder, MANIFEST)):
        description = read_manifest(folder, "vocab")["files"].get(f"{model}/vocab.txt", {})
        if description.get("sha256") != sha256(path):
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
    """The name of the file with a finished file's description, until the manifest has it."""
    return f".{name}.json"


def finished_models(shard: int, present: dict[str, frozenset[str]]) -> tuple[str, ...]:
    """The models whose file of a shard is finished; `present`: model → the names in its folder."""
    name = file_name(shard)
    return tuple(model for model, names in present.items() if {name, _record(name)} <= names)


def write_shard(shard: Shard) -> dict[str, dict[str, Any]]:
    """Write the missing files of a shard; return model → the file's description for the manifest.

    The shard is read in blocks. The words of a block are split once for all models and copies. The random numbers of a
    block follow from the run's seed, the shard's number, the model and the block's number, so they depend neither on
    the order of shards nor on the number of processes.
    """
    name = file_name(shard.number)
    descriptions = {model: read_json(storage.join(shard.out, model, _record(name))) for model in shard.finished}
    files = {model: _Examples(shard, model) for model in shard.vocabularies if model not in descriptions}
    if not files:
        return descriptions

    with contextlib.ExitStack() as stack:
        streams = {model: stack.enter_context(_gzip(storage.join(shard.out, model, name))) for model in files}
        for number, block in enumerate(blocks(documents(shard.corpus, shard.name, shard.description))):
            words = split(block)
            for model, examples in files.items():
                for data in examples.records(number, words):
                    streams[model].write(data)
    for model, examples in files.items():
        descriptions[model] = {**streams[model].description(), **examples.counts()}
        write_json(storage.join(shard.out, model, _record(name)), descriptions[model])
    return descriptions


class _Examples:
    """The examples of a shard for one model, and their counts."""

    def __init__(self, shard: Shard, model: str) -> None:
        self.options = options = shard.options
        self.seed = [options.seed, shard.number, MODELS.index(model)]
        entries, self.vocabulary = _vocabulary(shard.vocabularies[model], model)
        self.masking = Masking(
            entries, options.seq_length, options.max_predictions, options.masked_lm_prob, options.ngram,
            options.unmasked,
        )  # fmt: skip

    def records(self, block: int, words: Words) -> Iterator[NDArray[np.uint8]]:
        """The TFRecords of a block, in pieces."""
        # numpy's fastest bit generator (3.2 ns a draw, PCG64DXSM 3.5, Philox 9.2). Its period is at least 2^64 draws.
        # Seeds are hashed, so that streams of neighbouring seeds are independent.
        generator = SFC64([*self.seed, block])
        tokens = look_up(words, self.vocabulary)
        return records(generator, tokens, self.masking, self.options.dupe_factor, self.options.short_seq_prob)

    def counts(self) -> dict[str, Any]:
        """The counts of all examples so far."""
        numbers = self.masking.counts.tolist()
        ngrams = {str(n): number for n, number in enumerate(numbers[len(COUNTS) :], 1)}
        return {**dict(zip(COUNTS, numbers, strict=False)), "ngrams": ngrams}


@functools.cache
def _vocabulary(path: str, model: str) -> tuple[dict[str, int], CompiledVocabulary]:
    """A model's vocabulary, read once in each process."""
    entries = vocabulary_file.read(path)
    return entries, CompiledVocabulary(entries, by_character=model == "character")


class _Gzip:
    """A gzip stream. It is hashed while it is written, since it may go to Cloud Storage."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        # wbits 31: a gzip stream, without a name or a time in its header.
        self._gzip = zlib_ng.compressobj(GZIP_LEVEL, wbits=31)
        self._digest = hashlib.sha256()
        self._bytes = 0

    def write(self, data: NDArray[np.uint8]) -> None:
        self._put(self._gzip.compress(data))

    def end(self) -> None:
        self._put(self._gzip.flush())

    def description(self) -> dict[str, Any]:
        """The finished file's description, as `storage.describe` gives it."""
        return {"bytes": self._bytes, "sha256": self._digest.hexdigest()}

    def _put(self, block: bytes) -> None:
        self._stream.write(block)
        self._digest.update(block)
        self._bytes += len(block)


@contextlib.contextmanager
def _gzip(path: str) -> Iterator[_Gzip]:
    """Write a complete gzip file, or none."""
    with whole_file(path) as stream:
        gzip = _Gzip(stream)
        yield gzip
        gzip.end()


def forget_records(folder: str, names: list[str]) -> None:
    """Remove the descriptions that are in the manifest by now."""
    storage.remove_all(folder, [_record(name) for name in names])
