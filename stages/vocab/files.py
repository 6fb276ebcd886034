"""The corpus folder in, the two vocabulary files out."""

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from stages.command.refusal import Refusal
from stages.formats.corpus import documents
from stages.handover import storage
from stages.handover.storage import describe, whole_file
from stages.vocab.sampling import chosen
from stages.words.compiled_words import WordCounts, code_points, segment
from stages.words.japanese_subwords import normalise

# Sentences handed to the compiled rules in one call: long enough that the calls cost nothing, short enough for memory.
BATCH = 1 << 13


class Sampled(NamedTuple):
    """A shard of the corpus, and how many of its sentences are in the sample."""

    corpus: str
    number: int
    name: str
    described: dict[str, Any]
    take: int
    seed: int


def count_words(shards: list[Sampled]) -> dict[str, int]:
    """The words of the sampled sentences of some shards, as the tokenizer splits them, with their frequencies.

    Words of more than 100 characters are left out: the tokenizer makes them `[UNK]`, so no entry that is
    trained on them could ever be produced. Memory depends on the different words alone.
    """
    counts = WordCounts()
    for shard in shards:
        for batch in _batches(_sample(shard)):
            texts = code_points(batch)
            counts.add(texts, segment(texts))
    return dict(counts.items())


def _sample(shard: Sampled) -> Iterator[str]:
    """The sampled sentences of a shard, in the form in which they are tokenized."""
    expected = shard.described["sentences"]
    mask = chosen(expected, shard.take, shard.seed, shard.number).tolist()
    number = 0
    for article in documents(shard.corpus, shard.name, shard.described):
        for sentence in article:
            if number < expected and mask[number]:
                yield normalise(sentence)
            number += 1
    if number != expected:
        path = storage.join(shard.corpus, shard.name)
        raise Refusal(f"{path} has {number} sentences, its manifest says {expected}; make the corpus again")


def _batches(sentences: Iterable[str]) -> Iterator[list[str]]:
    batch = []
    for sentence in sentences:
        batch.append(sentence)
        if len(batch) == BATCH:
            yield batch
            batch = []
    yield batch


def write_vocabulary(out: str, model: str, entries: list[str]) -> dict[str, Any]:
    """Write `<out>/<model>/vocab.txt`, one entry a line, and give what the manifest says of it."""
    storage.make_folder(storage.join(out, model))
    path = storage.join(out, model, "vocab.txt")
    with whole_file(path, "w") as stream:
        stream.writelines(entry + "\n" for entry in entries)
    return {**describe(path), "entries": len(entries)}
