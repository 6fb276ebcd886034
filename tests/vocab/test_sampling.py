"""The sample is uniform, seeded, and of the size asked for."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from stages.vocab.sampling import chosen, draw


@given(st.lists(st.integers(0, 200), min_size=1, max_size=20), st.integers(1, 500), st.integers(0, 2**32))
def test_as_many_as_asked_for_or_all(sentences: list[int], sample: int, seed: int) -> None:
    takes = draw(sentences, sample, seed)
    assert sum(takes) == min(sample, sum(sentences))
    assert all(0 <= take <= there for take, there in zip(takes, sentences, strict=True))
    assert takes == draw(sentences, sample, seed)
    for shard, (take, there) in enumerate(zip(takes, sentences, strict=True)):
        assert chosen(there, take, seed, shard).sum() == take


def test_every_sentence_is_equally_likely() -> None:
    sentences, rounds = [10, 40, 150], 2000
    hits = [np.zeros(n) for n in sentences]
    for seed in range(rounds):
        for shard, take in enumerate(draw(sentences, 50, seed)):
            hits[shard] += chosen(sentences[shard], take, seed, shard)
    # Each is drawn with probability 1/4: 500 times, give or take 5 standard deviations of 19.4.
    assert all(abs(hit - 500).max() < 97 for hit in hits)
