"""Documents → instances: what A and B are, how long, in which order."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.random import SFC64

from stages.formats.examples import COUNTS, Tokens, plan


def offsets(lengths: list[int]) -> np.ndarray:
    return np.concatenate(([0], np.cumsum(lengths))).astype(np.int64)


def block(documents: list[list[int]]) -> Tokens:
    """A block of documents, given as the lengths of their sentences."""
    sentences = offsets([length for document in documents for length in document])
    size = int(sentences[-1])
    return Tokens(np.arange(size, dtype=np.int32), np.ones(size, bool), sentences, offsets(list(map(len, documents))))


DOCUMENTS = st.lists(st.lists(st.integers(1, 30), min_size=1, max_size=8), min_size=1, max_size=8)


@given(DOCUMENTS, st.integers(5, 60), st.sampled_from([0.0, 0.1, 1.0]), st.integers(0, 2**32), st.integers(1, 3))
def test_every_instance_is_a_pair_of_ranges(
    documents: list[list[int]], room: int, short: float, seed: int, copies: int
) -> None:
    tokens = block(documents)
    rows = plan(SFC64(seed), tokens, copies, room, short)
    document_of = np.repeat(np.arange(len(documents)), list(map(sum, documents)))
    for a_begin, a_end, b_begin, b_end, swapped in rows.tolist():
        assert a_begin < a_end
        assert b_begin < b_end
        assert (a_end - a_begin) + (b_end - b_begin) <= room
        (of_a,), (of_b,) = set(document_of[a_begin:a_end]), set(document_of[b_begin:b_end])
        if of_a != of_b:
            assert swapped, "a part of another document counts as swapped"
        else:
            assert b_end <= a_begin if swapped else a_end <= b_begin, "in order, or swapped"
    again = plan(SFC64(seed), tokens, copies, room, short)
    assert (rows == again).all()


def test_nothing_is_lost_where_nothing_is_cut() -> None:
    # Without short sequences and with room for each document, every sentence is in every copy exactly once.
    rows = plan(SFC64(0), block([[4, 6, 5], [3, 7, 2]]), 10, 60, 0.0)
    assert len(rows) == 20
    covered = np.zeros(27, int)
    for a_begin, a_end, b_begin, b_end, _ in rows:
        covered[a_begin:a_end] += 1
        covered[b_begin:b_end] += 1
    assert (covered == 10).all()


def test_half_of_the_pairs_are_swapped_and_the_cut_is_uniform() -> None:
    rows = plan(SFC64(1), block([[5] * 4]), 6000, 20, 0.0)
    assert abs(rows[:, 4].mean() - 0.5) < 0.03
    first = np.minimum(rows[:, 1] - rows[:, 0], 20)
    first = np.where(rows[:, 4] == 1, 20 - first, first)
    assert all(abs((first == cut).mean() - 1 / 3) < 0.03 for cut in (5, 10, 15))


def test_a_single_sentence_gets_its_second_part_from_another_document() -> None:
    rows = plan(SFC64(2), block([[5], [6], [7]]), 300, 40, 0.0)
    assert rows[:, 4].all()
    pairs, counts = np.unique(rows[:, [0, 2]], axis=0, return_counts=True)
    assert pairs.tolist() == [[0, 5], [0, 11], [5, 0], [5, 11], [11, 0], [11, 5]], "any other, never itself"
    assert counts.min() > 100, "each of the others as often"


def test_a_single_sentence_without_another_document_is_cut_in_two() -> None:
    rows = plan(SFC64(2), block([[5]]), 3000, 40, 0.0)
    cuts = np.where(rows[:, 4] == 1, rows[:, 0], rows[:, 1])
    whole = np.where(rows[:, 4:] == 1, rows[:, [2, 3, 0, 1]], rows[:, :4])
    assert (whole == np.column_stack((0 * cuts, cuts, cuts, 0 * cuts + 5))).all(), "both parts, in order or swapped"
    assert abs(rows[:, 4].mean() - 0.5) < 0.03
    assert np.abs(np.bincount(cuts)[1:] / 3000 - 1 / 4).max() < 0.03, "each cut as often"


def test_a_token_that_cannot_be_cut_makes_no_instance_and_is_counted() -> None:
    counts = np.zeros(len(COUNTS), np.int64)
    rows = plan(SFC64(2), block([[9, 1]]), 7, 9, 0.0, counts)
    assert len(rows) == 7, "the first sentence fills an instance, the second is one token"
    assert rows[:, :4].max() == 9
    assert dict(zip(COUNTS, counts.tolist(), strict=True)) == {**dict.fromkeys(COUNTS, 0), "unpaired": 7}


def test_truncation_takes_from_front_and_end_of_the_longer_part() -> None:
    rows = plan(SFC64(3), block([[10, 50]]), 400, 40, 0.0)
    long_begin = np.where(rows[:, 4] == 1, rows[:, 0], rows[:, 2])
    long_end = np.where(rows[:, 4] == 1, rows[:, 1], rows[:, 3])
    assert (long_end - long_begin == 30).all(), "the shorter part keeps its 10"
    assert abs((long_begin - 10).mean() - 10) < 0.7, "20 tokens go, half of them in front"


def test_copies_are_shuffled_together() -> None:
    rows = plan(SFC64(4), block([[5, 5]] * 50), 4, 20, 0.0)
    first = np.minimum(rows[:, 0], rows[:, 2]) // 10
    assert len(set(first[:50])) < 45, "not one copy after the other"
    assert sorted(first.tolist()) == sorted(list(range(50)) * 4)


def test_shuffling_is_even() -> None:
    # Where the first of six instances lands in 6,000 plans: every place as often.
    landed = [plan(SFC64(seed), block([[5, 5]] * 6), 1, 20, 0.0)[:, :4].min(1).argmin() for seed in range(6000)]
    assert np.abs(np.bincount(landed) - 1000).max() < 150


def test_short_sequences_are_as_often_and_as_long_as_asked() -> None:
    # A document of single tokens is cut by its target alone.
    rows = plan(SFC64(5), block([[1] * 50] * 2), 400, 20, 1.0)
    lengths = rows[:, 1] - rows[:, 0] + rows[:, 3] - rows[:, 2]
    assert set(lengths.tolist()) <= set(range(2, 21))
    counts = np.bincount(lengths, minlength=21)
    # A target t fills 50 // t instances, each target in a nineteenth of 800 documents.
    assert all(abs(counts[t] / (50 // t) / (800 / 19) - 1) < 0.6 for t in range(11, 20))
    plain = plan(SFC64(5), block([[1] * 50] * 2), 4, 20, 0.0)
    assert sorted((plain[:, 1] - plain[:, 0] + plain[:, 3] - plain[:, 2]).tolist()) == [10] * 8 + [20] * 16


@pytest.mark.parametrize("documents", [[], [[1]], [[1], [1]], [[1, 1]], [[1], [1, 1], [300]]], ids=str)
def test_the_smallest_blocks(documents: list[list[int]]) -> None:
    rows = plan(SFC64(0), block(documents), 7, 5, 0.5)
    assert rows.shape[1] == 5
    assert len(rows) >= 7 * len(documents) * (documents != [[1]])
    assert ((rows[:, [1, 3]] - rows[:, [0, 2]]).sum(1) <= 5).all()


@pytest.mark.parametrize(
    ("sentences", "documents"),
    [([0, 5], [0, 2]), ([0, 4], [0, 1]), ([1, 5], [0, 1]), ([0, 3, 3, 5], [0, 3]), ([0, 3, 5], [0, 0, 2])],
)
def test_offsets_that_point_elsewhere_are_errors(sentences: list[int], documents: list[int]) -> None:
    tokens = Tokens(np.zeros(5, np.int32), np.ones(5, bool), np.array(sentences), np.array(documents))
    with pytest.raises(ValueError, match="offsets must rise"):
        plan(SFC64(0), tokens, 1, 10, 0.1)
