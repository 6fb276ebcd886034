"""Corpus shards and vocabularies → gzip TFRecord files, one for each shard and model."""

import contextlib
import dataclasses
import functools
import hashlib
from typing import IO, Any

from numpy.random import SFC64
from zlib_ng import zlib_ng

from stages.command.refusal import Refusal
from stages.formats.corpus import documents
from stages.formats.encoding import MOST
from stages.formats.examples import COUNTS, Masking, ordinary
from stages.handover import storage
from stages.handover.manifests import MANIFEST, read_json, read_manifest, write_json
from stages.tfrecords.blocks import Words, blocks, look_up, records, split
from stages.tfrecords.options import MODELS, Options
from stages.words.compiled_words import CompiledVocabulary
from stages.words.reading import read_vocabulary

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
    options: Options

    @property
    def file(self) -> str:
        """The name of the TFRecord file."""
        return f"pretrain_{self.number:05d}.tfrecord.gz"

    @property
    def record(self) -> str:
        """The name of the file with the description of the finished TFRecord file, until the manifest has it."""
        return f".{self.file}.json"


def open_vocabulary(folder: str, model: str) -> tuple[str, dict[str, int]]:
    """Path and entries of a model's vocabulary, from `vocab` or from elsewhere.

    Refuses a vocabulary that is missing, invalid, or has other bytes than its manifest says.
    """
    path = storage.join(folder, model, "vocab.txt")
    entries = read_vocabulary(path, "; make vocab writes it")
    if storage.exists(storage.join(folder, MANIFEST)):
        description = read_manifest(folder, "vocab")["files"].get(f"{model}/vocab.txt", {})
        if description.get("sha256") != storage.sha256(path):
            raise Refusal(f"{path} is not what make vocab wrote (its SHA-256 differs); make the vocabulary again")
    if not ordinary(entries):
        raise Refusal(f"{path} has special entries only; a masked token could be replaced by none")
    if len(entries) > MOST:
        raise Refusal(f"{path} has {len(entries):,} entries, and examples hold ids of at most {MOST - 1:,}")
    return path, entries


def write_shard(shard: Shard) -> dict[str, dict[str, Any]]:
    """Write the missing files of a shard; return model → the file's description for the manifest.

    The shard is read in blocks. The words of a block are split once for all models and copies.
    """
    paths = {model: storage.join(shard.options.out, model, shard.file) for model in shard.vocabularies}
    record_paths = {model: storage.join(shard.options.out, model, shard.record) for model in paths}
    missing = [model for model in paths if not all(map(storage.exists, (record_paths[model], paths[model])))]
    if missing:
        with contextlib.ExitStack() as stack:
            streams = {model: stack.enter_context(storage.whole_file(paths[model])) for model in missing}
            files = {model: _ModelFile(shard, model, stream) for model, stream in streams.items()}
            for number, block in enumerate(blocks(documents(shard.corpus, shard.name, shard.description))):
                words = split(block)
                for file in files.values():
                    file.add(number, words)
            descriptions = {model: file.end() for model, file in files.items()}
        for model in missing:
            write_json(record_paths[model], descriptions[model])
    return {model: read_json(path) for model, path in record_paths.items()}


class _ModelFile:
    """The TFRecord file of a shard for one model. It is hashed while written, since it may go to Cloud Storage."""

    def __init__(self, shard: Shard, model: str, stream: IO[bytes]) -> None:
        self._stream, self._options = stream, shard.options
        self._seed = [self._options.seed, shard.number, MODELS.index(model)]
        entries, self._vocabulary = _vocabulary(shard.vocabularies[model], model)
        self._masking = Masking(
            entries, self._options.seq_length, self._options.max_predictions, self._options.masked_lm_prob,
            self._options.ngram, self._options.unmasked,
        )  # fmt: skip
        # wbits 31: a gzip stream, without a name or a time in its header.
        self._gzip = zlib_ng.compressobj(GZIP_LEVEL, wbits=31)
        self._digest, self._bytes = hashlib.sha256(), 0

    def add(self, block: int, words: Words) -> None:
        """Write the examples of a block.

        Its random numbers depend on the run's seed, the numbers of shard and block, and the model: neither on the order
        of shards nor on the number of processes.
        """
        # numpy's fastest bit generator (3.2 ns a draw, PCG64DXSM 3.5, Philox 9.2). Its period is at least 2^64 draws.
        # Seeds are hashed, so that streams of neighbouring seeds are independent.
        generator, tokens = SFC64([*self._seed, block]), look_up(words, self._vocabulary)
        copies, short = self._options.dupe_factor, self._options.short_seq_prob
        for data in records(generator, tokens, self._masking, copies, short):
            self._write(self._gzip.compress(data))

    def end(self) -> dict[str, Any]:
        """End the file. Returns its description, as `storage.describe` gives it, with the counts of all examples."""
        self._write(self._gzip.flush())
        counts = self._masking.counts.tolist()
        ngrams = {str(n): number for n, number in enumerate(counts[len(COUNTS) :], 1)}
        file = {"bytes": self._bytes, "sha256": self._digest.hexdigest()}
        return {**file, **dict(zip(COUNTS, counts, strict=False)), "ngrams": ngrams}

    def _write(self, data: bytes) -> None:
        self._stream.write(data)
        self._digest.update(data)
        self._bytes += len(data)


@functools.cache
def _vocabulary(path: str, model: str) -> tuple[dict[str, int], CompiledVocabulary]:
    """A model's vocabulary, read once in each process."""
    entries = read_vocabulary(path)
    return entries, CompiledVocabulary(entries, by_character=model == "character")
