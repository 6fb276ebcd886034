"""A corpus folder → the words of a uniform sample of its sentences, counted shard by shard."""

from collections.abc import Iterator
from itertools import islice
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from stages.command.refusal import Refusal
from stages.formats.corpus import documents
from stages.handover import storage
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


def draw(sentences: list[int], sample: int, seed: int) -> list[int]:
    """The number of sentences that a uniform sample has from each shard.

    sentences: the number in each shard. `sample` of them are drawn without replacement, all if there are fewer. The
    numbers follow the multivariate hypergeometric distribution. So with `sample_mask` every set of `sample` sentences
    is equally likely, and each shard can be read on its own.
    """
    if sample >= sum(sentences):
        return list(sentences)
    generator = np.random.default_rng(seed)
    numbers: list[int] = generator.multivariate_hypergeometric(sentences, sample, method="marginals").tolist()
    return numbers


def sample_mask(sentences: int, size: int, seed: int, shard: int) -> NDArray[np.bool_]:
    """Whether each of a shard's sentences is among the `size` in the sample: shape (sentences,)."""
    mask = np.zeros(sentences, dtype=bool)
    mask[np.random.default_rng([seed, shard]).choice(sentences, size, replace=False, shuffle=False)] = True
    return mask


def count_words(samples: list[ShardSample]) -> dict[str, int]:
    """The frequencies of the words in the samples of some shards, as the tokenizer splits them.

    Words of more than 100 characters are left out: the tokenizer makes them `[UNK]`, so entries trained on them never
    occur. Memory depends only on the number of different words.
    """
    counts = WordCounts()
    for sample in samples:
        sentences = _sentences(sample)
        while batch := list(islice(sentences, BATCH)):
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
