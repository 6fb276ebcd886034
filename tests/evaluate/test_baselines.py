"""The model of neighbours' counts: probabilities computed by hand, and that each distribution sums to 1."""

from fractions import Fraction as F

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.evaluate.baselines import CLS, MASK, PAD, SEP, Neighbours

A, B, C = 5, 6, 7
# Two examples of a vocabulary of eight: "a b a [SEP] c [SEP]" and "a b c [SEP]".
TEXT = np.array([CLS, A, B, A, SEP, C, SEP, CLS, A, B, C, SEP], np.int32)
# Three a, two b, two c: (count + 1) / (7 + 8).
UNIGRAM = [F(n, 15) for n in (1, 1, 1, 1, 1, 4, 3, 3)]


def distribution(left: int, right: int) -> list[float]:
    [row] = Neighbours(TEXT, 8).distributions(np.array([left], np.int32), np.array([right], np.int32))
    values: list[float] = row.tolist()
    return values


def smoothed(counts: dict[int, int], lower: list[F]) -> list[F]:
    """Witten and Bell's formula, in fractions."""
    total, kinds = sum(counts.values()), len(counts)
    return [(counts.get(token, 0) + kinds * share) / (total + kinds) for token, share in enumerate(lower)]


@pytest.mark.parametrize("unknown", [PAD, CLS, MASK])
def test_with_no_known_neighbour_it_is_the_unigram_model(unknown: int) -> None:
    assert distribution(unknown, unknown) == pytest.approx([float(share) for share in UNIGRAM])


def test_with_one_known_neighbour_it_has_that_sides_counts() -> None:
    # Behind a stands b, twice: (count + 1 · lower) / (2 + 1).
    assert distribution(A, MASK)[B] == pytest.approx(float((2 + F(3, 15)) / 3))
    assert distribution(A, MASK)[C] == pytest.approx(float(F(3, 15) / 3))
    # Before [SEP] stand a, c and c: (count + 2 · lower) / (3 + 2).
    assert distribution(MASK, SEP)[C] == pytest.approx(float((2 + 2 * F(3, 15)) / 5))
    assert distribution(MASK, SEP)[A] == pytest.approx(float((1 + 2 * F(4, 15)) / 5))


def test_with_both_neighbours_it_backs_off_to_their_product() -> None:
    left, right = smoothed({A: 1, C: 1}, UNIGRAM), smoothed({A: 1, C: 2}, UNIGRAM)
    product = [one * other / share for one, other, share in zip(left, right, UNIGRAM, strict=True)]
    lower = [share / sum(product) for share in product]
    # Behind b and before [SEP]: a once, c once.
    expected = smoothed({A: 1, C: 1}, lower)
    assert distribution(B, SEP) == pytest.approx([float(share) for share in expected])
    # Behind b and before b nothing was seen: the product itself, with a before b.
    right = smoothed({A: 2}, UNIGRAM)
    product = [one * other / share for one, other, share in zip(left, right, UNIGRAM, strict=True)]
    assert distribution(B, B) == pytest.approx([float(share / sum(product)) for share in product])


def test_losses_and_guesses_are_those_of_the_distributions() -> None:
    left, right, labels = (np.tile(np.array(ids, np.int32), 40) for ids in ([A, B], [MASK, SEP], [B, C]))
    losses, best = Neighbours(TEXT, 8).predict(left, right, labels)
    assert losses[:2] == pytest.approx([-np.log(11 / 15), -np.log(distribution(B, SEP)[C])])
    assert losses.reshape(40, 2) == pytest.approx(np.tile(losses[:2], (40, 1)))
    assert best[0, :2].tolist() == [B, A]
    assert best.shape == (80, 5)


@given(st.lists(st.integers(0, 11), max_size=60), st.lists(st.tuples(*[st.integers(0, 11)] * 2), min_size=1))
def test_each_distribution_sums_to_one(text: list[int], gaps: list[tuple[int, int]]) -> None:
    left, right = np.array(gaps, np.int32).T
    made = Neighbours(np.array(text, np.int32), 12).distributions(left, right)
    assert made.min() > 0
    assert made.sum(1) == pytest.approx(np.ones(len(gaps)))
