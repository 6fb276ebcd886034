"""Documents → instances: what A and B are, how long, in which order."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.tfrecords.instances import plan


def offsets(lengths: list[int]) -> np.ndarray:
    return np.concatenate(([0], np.cumsum(lengths))).astype(np.int64)


DOCUMENTS = st.lists(st.lists(st.integers(1, 30), min_size=1, max_size=8), min_size=1, max_size=8)


@settings(deadline=None)
@given(DOCUMENTS, st.integers(5, 60), st.sampled_from([0.0, 0.1, 1.0]), st.integers(0, 2**32), st.integers(1, 3))
def test_every_instance_is_a_pair_of_ranges(
    documents: list[list[int]], room: int, short: float, seed: int, copies: int
) -> None:
    sentences = offsets([length for document in documents for length in document])
    ends = offsets([len(document) for document in documents])
    rows = plan(np.random.default_rng(seed), sentences, ends, copies, room, short)
    document_of = np.repeat(np.arange(len(documents)), np.diff(sentences[ends]))
    for a_begin, a_end, b_begin, b_end, swapped in rows.tolist():
        assert a_begin < a_end
        assert b_begin < b_end
        assert (a_end - a_begin) + (b_end - b_begin) <= room
        (of_a,), (of_b,) = set(document_of[a_begin:a_end]), set(document_of[b_begin:b_end])
        if of_a != of_b:
            assert swapped, "a part of another document counts as swapped"
        elif len(documents) > 1:
            assert (b_begin < a_begin) == bool(swapped), "in order, or swapped"
    again = plan(np.random.default_rng(seed), sentences, ends, copies, room, short)
    assert (rows == again).all()


def test_nothing_is_lost_where_nothing_is_cut() -> None:
    # Without short sequences and with room for each document, every sentence is in every copy exactly once.
    sentences, documents = offsets([4, 6, 5, 3, 7, 2]), offsets([3, 3])
    rows = plan(np.random.default_rng(0), sentences, documents, 10, 60, 0.0)
    assert len(rows) == 20
    covered = np.zeros(27, int)
    for a_begin, a_end, b_begin, b_end, _ in rows:
        covered[a_begin:a_end] += 1
        covered[b_begin:b_end] += 1
    assert (covered == 10).all()


def test_half_of_the_pairs_are_swapped_and_the_cut_is_uniform() -> None:
    sentences, documents = offsets([5] * 4), offsets([4])
    rows = plan(np.random.default_rng(1), sentences, documents, 6000, 20, 0.0)
    assert abs(rows[:, 4].mean() - 0.5) < 0.03
    first = np.minimum(rows[:, 1] - rows[:, 0], 20)
    first = np.where(rows[:, 4] == 1, 20 - first, first)
    assert all(abs((first == cut).mean() - 1 / 3) < 0.03 for cut in (5, 10, 15))


def test_a_single_sentence_gets_its_second_part_from_another_document() -> None:
    sentences, documents = offsets([5, 6, 7]), offsets([1, 1, 1])
    rows = plan(np.random.default_rng(2), sentences, documents, 300, 40, 0.0)
    assert rows[:, 4].all()
    assert (rows[:, 0] != rows[:, 2]).all()
    alone = plan(np.random.default_rng(2), offsets([5]), offsets([1]), 3, 40, 0.0)
    assert alone.tolist() == [[0, 5, 0, 5, 1]] * 3, "a shard with one document has no other"


def test_truncation_takes_from_front_and_end_of_the_longer_part() -> None:
    sentences, documents = offsets([10, 50]), offsets([2])
    rows = plan(np.random.default_rng(3), sentences, documents, 400, 40, 0.0)
    long_begin = np.where(rows[:, 4] == 1, rows[:, 0], rows[:, 2])
    long_end = np.where(rows[:, 4] == 1, rows[:, 1], rows[:, 3])
    assert (long_end - long_begin == 30).all(), "the shorter part keeps its 10"
    assert abs((long_begin - 10).mean() - 10) < 0.7, "20 tokens go, half of them in front"


def test_copies_are_shuffled_together() -> None:
    sentences, documents = offsets([5] * 100), offsets([2] * 50)
    rows = plan(np.random.default_rng(4), sentences, documents, 4, 20, 0.0)
    first = np.minimum(rows[:, 0], rows[:, 2]) // 10
    assert len(set(first[:50])) < 45, "not one copy after the other"
    assert sorted(first.tolist()) == sorted(list(range(50)) * 4)


def test_an_empty_shard_has_no_instances() -> None:
    assert plan(np.random.default_rng(0), offsets([]), offsets([]), 2, 20, 0.1).shape == (0, 5)
