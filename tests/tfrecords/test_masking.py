"""Which tokens are masked: whole words, n-grams by weight, exactly the budget, never a special; and by what."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.random import SFC64

from stages.formats.examples import (
    COUNTS,
    LENGTH,
    LONGEST,
    PREDICTED,
    SEPARATOR,
    Examples,
    Masking,
    Tokens,
    budget,
    ordinary,
)  # fmt: skip

CLS, SEP, MASK = 2, 3, 4
# 5 is unused and 6 to 9 are ordinary, the last of them the text of all tests.
ENTRIES = {e: n for n, e in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "<unused0>", *"一二三四"])}
TEXT = 9


@pytest.mark.parametrize(
    ("length", "most", "tokens"),
    [(512, 20, 20), (512, 77, 77), (100, 20, 15), (30, 20, 4), (10, 20, 2), (3, 20, 1), (50, 20, 8)],
)
def test_budgets(length: int, most: int, tokens: int) -> None:
    assert budget(length, most, 0.15) == tokens  # 4.5 → 4 and 7.5 → 8: Python rounds to even


def masked(
    parts: list[list[int]], most: int, seed: int, longest: int = 3, copies: int = 1
) -> tuple[Examples, np.ndarray, Masking]:
    """`[CLS] A [SEP] B [SEP]`, A and B given as the lengths of their words: the examples, what is masked in each."""
    starts = np.array([place == 0 for part in parts for word in part for place in range(word)])
    tokens = Tokens(np.full(len(starts), TEXT, np.int32), starts, np.array([]), np.array([]))
    cut, end = sum(parts[0]), len(starts)
    # A budget of exactly `most`: everything is to be masked, as far as that many predictions go.
    masking = Masking(ENTRIES, end + 3, most, 1.0, longest)
    (made,) = masking.examples(SFC64(seed), tokens, np.array([[0, cut, cut, end, 0]] * copies), copies)
    mask = np.zeros((copies, end + 3), bool)
    for row, predicted in enumerate(made.shapes[:, PREDICTED]):
        mask[row, made.positions[row, :predicted]] = True
        assert (np.diff(made.positions[row, :predicted]) > 0).all(), "in order, none twice"
        assert not made.positions[row, predicted:].any()
        assert not made.labels[row, predicted:].any()
    return made, mask, masking


PART = st.lists(st.integers(1, 4), min_size=1, max_size=30)


@given(PART, PART, st.integers(1, 40), st.integers(0, 2**32), st.integers(1, 5))
def test_whole_words_within_the_budget(a: list[int], b: list[int], most: int, seed: int, longest: int) -> None:
    made, (mask,), masking = masked([a, b], most, seed, longest)
    total = int(made.shapes[0, PREDICTED])
    most = min(most, len(mask))
    assert mask.sum() == total <= most
    assert made.shapes[0, [LENGTH, SEPARATOR]].tolist() == [len(mask), 1 + sum(a)]
    assert not mask[[0, 1 + sum(a), -1]].any(), "specials are never masked"
    left = []
    at = 1
    for part in (a, b):
        for length in part:
            word = mask[at : at + length]
            assert word.all() or not word.any(), "whole words"
            if not word.any():
                left.append(length)
            at += length
        at += 1
    assert total == most or all(length > most - total for length in left), "short only where no word fits"
    counts = dict(zip(COUNTS, masking.counts.tolist(), strict=False))
    assert counts == {
        "examples": 1,
        "swapped": 0,
        "tokens": len(mask),
        "unknown_tokens": 0,
        "masked_tokens": total,
        "short_of_budget": int(total < most),
        "unpaired": 0,
    }
    ngrams = masking.counts[len(COUNTS) :]
    assert sum(n * count for n, count in enumerate(ngrams.tolist(), 1)) == len(a) + len(b) - len(left)


@given(st.data(), st.integers(8, 80), st.integers(1, 30), st.integers(1, 5), st.integers(0, 2**32))
def test_examples_hold_their_tokens(
    data: st.DataObject, sequence: int, predictions: int, longest: int, seed: int
) -> None:
    random = np.random.default_rng(seed)
    size = data.draw(st.integers(1, 200))
    tokens = Tokens(random.integers(6, 10, size, np.int32), random.random(size) < 0.6, np.array([]), np.array([]))
    rows = []
    for _ in range(data.draw(st.integers(0, 7))):
        a = data.draw(st.integers(1, min(size, sequence - 4)))
        b = data.draw(st.integers(1, min(size, sequence - 3 - a)))
        a_begin, b_begin = data.draw(st.integers(0, size - a)), data.draw(st.integers(0, size - b))
        rows.append([a_begin, a_begin + a, b_begin, b_begin + b, data.draw(st.integers(0, 1))])
    masking = Masking(ENTRIES, sequence, predictions, 0.15, longest)
    instances = np.array(rows, np.int64).reshape(-1, 5)
    seen = 0
    for made in masking.examples(SFC64(seed), tokens, instances, 3):
        for ids, starts, shape, positions, labels in zip(*made, strict=True):
            a_begin, a_end, b_begin, b_end, swapped = rows[seen]
            seen += 1
            length, separator, predicted, is_swapped = shape.tolist()
            assert (length, separator, is_swapped) == (
                a_end - a_begin + b_end - b_begin + 3,
                a_end - a_begin + 1,
                swapped,
            )
            before = ids.copy()
            before[positions[:predicted]] = labels[:predicted]
            text = [CLS, *tokens.ids[a_begin:a_end], SEP, *tokens.ids[b_begin:b_end], SEP]
            assert before.tolist() == text + [0] * (sequence - length)
            begins = [True, *tokens.starts[a_begin:a_end], True, *tokens.starts[b_begin:b_end], True]
            assert starts.tolist() == begins + [False] * (sequence - length)
            assert predicted <= budget(length, predictions, 0.15)
    assert seen == len(rows) == masking.counts[0]


def test_ngram_lengths_follow_their_weights() -> None:
    *_, masking = masked([[1] * 4000, [1] * 4000], 100, 0, copies=300)
    ngrams = masking.counts[len(COUNTS) :]
    assert np.abs(ngrams / ngrams.sum() - np.array([6, 3, 2]) / 11).max() < 0.02


def test_every_word_is_masked_as_often() -> None:
    _, mask, _ = masked([[1] * 10, [1] * 10], 2, 0, longest=1, copies=20_000)
    shares = mask.mean(0)[[*range(1, 11), *range(12, 22)]]
    assert np.abs(shares - 0.1).max() < 0.01


def test_a_word_cut_in_front_does_not_join_the_part_before_it() -> None:
    # x | ##y ##y is cut into A = x ##y and B = ##y | z: B begins in the middle of a word.
    tokens = Tokens(np.full(4, TEXT, np.int32), np.array([True, False, False, True]), np.array([]), np.array([]))
    rows = np.array([[0, 2, 2, 4, 0]] * 500)
    (made,) = Masking(ENTRIES, 7, 1, 1.0, 3).examples(SFC64(0), tokens, rows, 500)
    assert set(made.positions[:, 0].tolist()) == {4, 5}, "two words of one token, and one of two, which is too long"
    (made,) = Masking(ENTRIES, 7, 3, 1.0, 3).examples(SFC64(0), tokens, rows, 500)
    assert set(map(tuple, made.positions.tolist())) == {(1, 2, 4), (1, 2, 5), (4, 5, 0)}


@pytest.mark.parametrize(
    ("entry", "reserved"),
    [
        *(("[MASK]", True), ("<unused0>", True), ("[unused1]", True), ("[unused_1]", True), ("[UNUSED1]", True)),
        *(("<s>", True), ("</s>", True), ("<extra_id_0>", True), ("<|endoftext|>", True), ("[BOS]", True)),
        *(("[", False), ("<", False), ("[]", False), ("unused", False), ("[1]", False), ("##]", False), ("<-", False)),
    ],
)
def test_entries_that_stand_in_no_text(entry: str, reserved: bool) -> None:
    assert ordinary({"一": 0, entry: 1}) == [0] + [1] * (not reserved)


def test_what_stands_in_place_of_a_masked_token() -> None:
    made, mask, _ = masked([[1] * 300, [1] * 300], 600, 0, copies=100)
    assert mask.sum() == 60_000
    now = made.ids[mask]
    shares = np.bincount(now, minlength=10) / len(now)
    # 80 % [MASK]; 10 % kept and a fourth of 10 % replaced by the same; the rest even over the ordinary entries.
    expected = [0, 0, 0, 0, 0.8, 0, 0.025, 0.025, 0.025, 0.125]
    assert np.abs(shares - expected).max() < 0.005
    assert (shares[:4] == 0).all()
    assert shares[5] == 0, "never a special or unused entry"
    assert (made.labels == TEXT).all()
    assert (made.ids[~mask].reshape(100, 3) == [CLS, SEP, SEP]).all(), "what is not masked stays"


def test_the_longest_sequence() -> None:
    # One token a word, and as many predictions as there are words.
    made, mask, masking = masked([[1] * 30_000, [1] * (LONGEST - 30_003)], LONGEST, 1)
    assert mask.sum() == made.shapes[0, PREDICTED] == LONGEST - 3
    assert masking.counts[COUNTS.index("short_of_budget")] == 1
    with pytest.raises(ValueError, match="a length that no example can have"):
        Masking(ENTRIES, LONGEST + 1, 20, 0.15, 3)


@pytest.mark.parametrize(
    "row", [[0, 0, 1, 2, 0], [0, 2, 2, 1, 0], [-1, 1, 1, 2, 0], [0, 2, 9, 11, 0], [0, 4, 4, 7, 0]], ids=str
)
def test_ranges_that_do_not_fit_are_errors(row: list[int]) -> None:
    tokens = Tokens(np.full(10, TEXT, np.int32), np.ones(10, bool), np.array([]), np.array([]))
    with pytest.raises(ValueError, match="an instance has two parts"):
        list(Masking(ENTRIES, 9, 2, 0.15, 3).examples(SFC64(0), tokens, np.array([row])))


def test_arrays_of_another_kind_are_errors() -> None:
    tokens = Tokens(np.full(10, TEXT, np.int64), np.ones(10, bool), np.array([]), np.array([]))
    with pytest.raises(TypeError, match="int64 is given where C expects int32"):
        list(Masking(ENTRIES, 9, 2, 0.15, 3).examples(SFC64(0), tokens, np.array([[0, 1, 1, 2, 0]])))


def test_a_vocabulary_without_ordinary_entries_is_an_error() -> None:
    with pytest.raises(ValueError, match="nothing to replace"):
        Masking({entry: n for entry, n in ENTRIES.items() if n < 6}, 9, 2, 0.15, 3)
