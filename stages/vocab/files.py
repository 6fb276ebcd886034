"""A corpus folder → the words of a sample; entries → a vocabulary file."""

from collections.abc import Iterator
from itertools import islice
from typing import Any, NamedTuple

from stages.command.refusal import Refusal
from stages.formats.corpus import documents
from stages.handover import storage
from stages.handover.storage import describe, whole_file
from stages.vocab.sampling import sample_mask
from stages.words.compiled_words import WordCounts, code_points, segment
from stages.words.japanese_subwords import normalise

# Sentences in one call of the compiled rules: enough that the calls cost nothing, few enough for memory.
BATCH = 1 << 13


class ShardSample(NamedTuple):
    """A shard of the corpus, its description in the manifest, and the number of its sentences in the sample."""

    corpus: str
    number: int
    name: str
    description: dict[str, Any]
    size: int
    seed: int


def count_words(samples: list[ShardSample]) -> dict[str, int]:
    """The frequencies of the words in the samples of some shards, as the tokenizer splits them.

    Words of more than 100 characters are left out: the tokenizer makes them `[UNK]`, so entries trained on them never
    occur. Memory depends on the number of different words alone.
    """
    counts = WordCounts()
    for sample in samples:
        for batch in _batches(_sentences(sample)):
            texts = code_points(batch)
            counts.add(texts, segment(texts))
    return dict(counts.items())


def _sentences(sample: ShardSample) -> Iterator[str]:
    """The normalised sentences of a shard's sample."""
    expected = sample.description["sentences"]
    mask = sample_mask(expected, sample.size, sample.seed, sample.number).tolist()
    number = 0
    for article in documents(sample.corpus, sample.name, sample.description):
        for sentence in article:
            if number < expected and mask[number]:
                yield normalise(sentence)
            number += 1
    if number != expected:
        path = storage.join(sample.corpus, sample.name)
        raise Refusal(f"{path} has {number} sentences, its manifest says {expected}; make the corpus again")


def _batches(sentences: Iterator[str]) -> Iterator[list[str]]:
    while batch := list(islice(sentences, BATCH)):
        yield batch


def write_vocabulary(out: str, model: str, entries: list[str]) -> dict[str, Any]:
    """Write `<out>/<model>/vocab.txt`, one entry a line, and return its description for the manifest."""
    storage.make_folder(storage.join(out, model))
    path = storage.join(out, model, "vocab.txt")
    with whole_file(path, "w") as stream:
        stream.writelines(entry + "\n" for entry in entries)
    return {**describe(path), "entries": len(entries)}
