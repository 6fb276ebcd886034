"""Which tokens are masked: whole words, n-grams by weight, exactly the budget, never a special."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.tfrecords.masking import budget, choose, find_words, ngram_weights, replace


@pytest.mark.parametrize(
    ("length", "most", "tokens"),
    [(512, 20, 20), (512, 77, 77), (100, 20, 15), (30, 20, 4), (10, 20, 2), (3, 20, 1), (50, 20, 8)],
)
def test_budgets(length: int, most: int, tokens: int) -> None:
    assert budget(length, most, 0.15) == tokens  # 4.5 → 4 and 7.5 → 8: Python rounds to even


def chosen(words: list[list[int]], most: int, seed: int, longest: int = 3) -> tuple[np.ndarray, list[int], int]:
    """The mask of `[CLS] A [SEP] B [SEP]`, where A and B are given as the lengths of their words."""
    starts = [True]
    for part in words:
        for length in part:
            starts += [True] + [False] * (length - 1)
        starts.append(True)
    separator = 1 + sum(words[0])
    begins, order = np.empty(len(starts), np.int64), np.empty(len(starts), np.int64)
    masked, ngrams = np.ones(len(starts), bool), np.zeros(longest, np.int64)
    in_first, total_words = find_words(np.array(starts), len(starts), separator, begins)
    assert (in_first, total_words) == (len(words[0]), len(words[0]) + len(words[1]))
    total = choose(
        np.random.default_rng(seed), begins, in_first, total_words, len(starts), separator, most,
        ngram_weights(longest), order, masked, ngrams,
    )  # fmt: skip
    return masked, ngrams.tolist(), total


PART = st.lists(st.integers(1, 4), min_size=1, max_size=30)


@settings(deadline=None)
@given(PART, PART, st.integers(1, 40), st.integers(0, 2**32))
def test_whole_words_within_the_budget(a: list[int], b: list[int], most: int, seed: int) -> None:
    masked, ngrams, total = chosen([a, b], most, seed)
    assert masked.sum() == total <= most
    separator = 1 + sum(a)
    assert not masked[[0, separator, len(masked) - 1]].any(), "specials are never masked"
    left = []
    at = 1
    for part in (a, b):
        for length in part:
            word = masked[at : at + length]
            assert word.all() or not word.any(), "whole words"
            if not word.any():
                left.append(length)
            at += length
        at += 1
    assert total == most or all(length > most - total for length in left), "short only where no word fits"
    assert sum(n * count for n, count in enumerate(ngrams, 1)) == len(a) + len(b) - len(left)


def test_ngram_lengths_follow_their_weights() -> None:
    counts = np.zeros(3)
    for seed in range(300):
        counts += chosen([[1] * 400, [1] * 400], 100, seed)[1]
    shares = counts / counts.sum()
    assert np.abs(shares - np.array([6, 3, 2]) / 11).max() < 0.02


def test_a_word_cut_in_front_does_not_join_the_part_before_it() -> None:
    # [CLS] x | ##y [SEP] ##z | w [SEP]: ##z begins B in the middle of a word.
    starts = np.array([True, True, False, True, False, True, True])
    begins = np.empty(7, np.int64)
    assert find_words(starts, 7, 3, begins) == (1, 3)
    assert begins[:3].tolist() == [1, 4, 5]


def test_what_stands_in_place_of_a_masked_token() -> None:
    size, mask, replacements = 60_000, 4, np.arange(100, 200, dtype=np.int32)
    ids = np.full(size, 50, np.int32)
    masked = np.ones(size, bool)
    masked[0] = False
    positions, labels = np.zeros(size, np.int64), np.zeros(size, np.int64)
    assert replace(np.random.default_rng(0), ids, size, masked, mask, replacements, positions, labels) == size - 1
    assert ids[0] == 50
    assert positions[: size - 1].tolist() == list(range(1, size))
    assert (labels[: size - 1] == 50).all()
    shares = [(ids == mask).mean(), (ids == 50).mean(), (ids >= 100).mean()]
    assert np.abs(np.array(shares) - [0.8, 0.1, 0.1]).max() < 0.01
    assert set(ids[ids >= 100]) == set(range(100, 200)), "all of the vocabulary, evenly"
