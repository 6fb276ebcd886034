"""Corpus shards and vocabularies in, gzip TFRecord files out, one a shard and model."""

import contextlib
import dataclasses
import os
from typing import Any

import numpy as np
from isal import isal_zlib

from stages.handover import Refusal, describe, documents, read_json, read_manifest, sha256, whole_file, write_json
from stages.tfrecords.encoding import frame
from stages.tfrecords.examples import COUNTS, Vocabulary, encoded
from stages.tfrecords.instances import plan
from stages.tfrecords.tokens import Tokens, look_up, split
from stages.tokenizer.japanese_subwords import read_vocabulary

MODELS = ("wordpiece_tinysegmenter", "character")
# isal's level 1: 6 µs and 0.8 kB an example; zlib's level 6 takes 15 times as long for a tenth less.
GZIP_LEVEL = 1


@dataclasses.dataclass(frozen=True)
class Options:
    """What decides the examples; the defaults are the published recipe."""

    seq_length: int = 512
    dupe_factor: int = 40
    max_predictions: int = 20
    masked_lm_prob: float = 0.15
    ngram: int = 3
    short_seq_prob: float = 0.1
    seed: int = 12345


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


def open_vocabulary(folder: str, model: str) -> tuple[str, dict[str, int]]:
    """Path and entries of a model's vocabulary, one that `vocab` made or any other of this form."""
    path = os.path.join(folder, model, "vocab.txt")
    try:
        entries = read_vocabulary(path)
    except OSError as error:
        raise Refusal(f"cannot read {path}: {error.strerror}; make vocab writes it")
    except ValueError as error:
        raise Refusal(str(error))
    if os.path.exists(os.path.join(folder, "manifest.json")):
        described = read_manifest(folder, "vocab")["files"].get(f"{model}/vocab.txt", {})
        if described.get("sha256") != sha256(path):
            raise Refusal(f"{path} is not what make vocab wrote (its SHA-256 differs); make the vocabulary again")
    return path, entries


def file_name(shard: int) -> str:
    """The name of a shard's TFRecord file."""
    return f"pretrain_{shard:05d}.tfrecord.gz"


def _record(folder: str, name: str) -> str:
    """Where a finished file is described until the manifest does it."""
    return os.path.join(folder, f".{name}.json")


def write_shard(shard: Shard) -> dict[str, dict[str, Any]]:
    """Write the files of a shard that are not there yet; gives model → what the manifest says of the file.

    Words are split once for all models and copies. The randomness of a file comes from the run's seed, the
    shard's number and the model, so it is the same in any order of shards and on any number of processes.
    """
    name = file_name(shard.number)
    done = {}
    for model in shard.vocabularies:
        record = _record(os.path.join(shard.out, model), name)
        if os.path.exists(record) and os.path.exists(os.path.join(shard.out, model, name)):
            done[model] = read_json(record)
    missing = [model for model in shard.vocabularies if model not in done]
    if not missing:
        return done

    vocabularies = {model: read_vocabulary(path) for model, path in shard.vocabularies.items()}
    spaces = frozenset(entry for entry in vocabularies.get("character", ()) if entry.isspace())
    words = split(documents(shard.corpus, shard.name, shard.described), spaces)
    for model in missing:
        tokens = look_up(words, model, vocabularies[model])
        folder = os.path.join(shard.out, model)
        done[model] = _write(os.path.join(folder, name), tokens, model, vocabularies[model], shard)
        write_json(_record(folder, name), done[model])
    return done


def _write(path: str, tokens: Tokens, model: str, entries: dict[str, int], shard: Shard) -> dict[str, Any]:
    options = shard.options
    generator = np.random.default_rng([options.seed, shard.number, MODELS.index(model)])
    instances = plan(
        generator,
        tokens.sentences,
        tokens.documents,
        copies=options.dupe_factor,
        room=options.seq_length - 3,
        short=options.short_seq_prob,
    )
    counts = np.zeros(len(COUNTS) + options.ngram, np.int64)
    records = encoded(
        generator,
        tokens,
        instances,
        Vocabulary.of(entries),
        options.seq_length,
        options.max_predictions,
        options.masked_lm_prob,
        options.ngram,
        counts,
    )
    # wbits 31: a gzip stream; its header holds neither name nor time.
    gzip = isal_zlib.compressobj(GZIP_LEVEL, wbits=31)
    with whole_file(path) as stream:
        for record in records:
            stream.write(gzip.compress(frame(record)))
        stream.write(gzip.flush())
    numbers = counts.tolist()
    ngrams = {str(n): number for n, number in enumerate(numbers[len(COUNTS) :], 1)}
    return {**describe(path), **dict(zip(COUNTS, numbers, strict=False)), "ngrams": ngrams}


def forget_records(folder: str, names: list[str]) -> None:
    """Remove the descriptions that the manifest now holds."""
    for name in names:
        with contextlib.suppress(FileNotFoundError):
            os.remove(_record(folder, name))
