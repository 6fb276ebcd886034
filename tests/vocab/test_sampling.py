"""The sample is uniform, seeded, and of the size requested."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from stages.vocab.sampling import draw, sample_mask


@given(st.lists(st.integers(0, 200), min_size=1, max_size=20), st.integers(1, 500), st.integers(0, 2**32))
def test_as_many_as_requested_or_all(sentences: list[int], sample: int, seed: int) -> None:
    sizes = draw(sentences, sample, seed)
    assert sum(sizes) == min(sample, sum(sentences))
    assert all(0 <= size <= number for size, number in zip(sizes, sentences, strict=True))
    assert sizes == draw(sentences, sample, seed)
    for shard, (size, number) in enumerate(zip(sizes, sentences, strict=True)):
        assert sample_mask(number, size, seed, shard).sum() == size


def test_every_sentence_is_equally_likely() -> None:
    sentences, rounds = [10, 40, 150], 2000
    hits = [np.zeros(n) for n in sentences]
    for seed in range(rounds):
        for shard, size in enumerate(draw(sentences, 50, seed)):
            hits[shard] += sample_mask(sentences[shard], size, seed, shard)
    # Each is drawn with probability 1/4: 500 times, give or take 5 standard deviations of 19.4.
    assert all(abs(hit - 500).max() < 97 for hit in hits)
