"""All copies of a block as TFRecords: every copy is there, however many are planned at a time."""

import struct
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.random import SFC64

from stages.formats.examples import COUNTS, Masking, Tokens
from stages.tfrecords.blocks import records

ENTRIES = {e: n for n, e in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *map(chr, range(0x4E00, 0x4F00))])}


def block(documents: list[list[int]]) -> Tokens:
    """Documents, given as the lengths of their sentences; each token another id, as far as they go."""
    lengths = [length for document in documents for length in document]
    sentences = np.cumsum([0, *lengths]).astype(np.int64)
    ids = (5 + np.arange(sentences[-1]) % 256).astype(np.int32)
    ends = np.cumsum([0, *map(len, documents)]).astype(np.int64)
    return Tokens(ids, np.ones(len(ids), bool), sentences, ends)


def parsed(pieces: Any, example_class: Any) -> list[dict[str, list[int]]]:
    """The examples in pieces of a TFRecord stream."""
    data = b"".join(piece.tobytes() for piece in pieces)
    found = []
    while data:
        (length,) = struct.unpack_from("<Q", data)
        features = example_class.FromString(data[12 : 12 + length]).features.feature
        found.append({name: list(value.int64_list.value) for name, value in features.items()})
        data = data[16 + length :]
    return found


def text(example: dict[str, list[int]]) -> list[int]:
    """The ids before masking, without specials and padding."""
    ids = example["input_ids"].copy()
    for position, label in zip(example["masked_lm_positions"], example["masked_lm_ids"], strict=True):
        if position:
            ids[position] = label
    return [number for number in ids if number >= 5]


@pytest.mark.parametrize("rows", [1, 12, 1000])
def test_every_token_is_in_every_copy(example_class: Any, rows: int) -> None:
    # Without short sequences and with room for each document, a copy holds every token once.
    documents = [[4, 6, 5], [3, 7, 2], [9, 8]]
    masking = Masking(ENTRIES, 40, 6, 0.15, 3)
    found = parsed(records(SFC64(1), block(documents), masking, 10, 0.0, rows), example_class)
    assert len(found) == masking.counts[0] == 30
    assert sorted(number for example in found for number in text(example)) == sorted([*range(5, 49)] * 10)


def test_copies_are_planned_together_as_far_as_there_is_room(example_class: Any) -> None:
    def documents_in_order(rows: int) -> list[int]:
        masking = Masking(ENTRIES, 19, 1, 0.1, 1)
        found = parsed(records(SFC64(2), block([[8, 8]] * 12), masking, 4, 0.0, rows), example_class)
        return [min(text(example)) // 16 for example in found]

    apart, together = documents_in_order(24), documents_in_order(1000)
    assert all(sorted(apart[copy : copy + 12]) == [*range(12)] for copy in (0, 12, 24, 36))
    assert len(set(together[:12])) < 12


@settings(max_examples=60)
@given(
    st.lists(st.lists(st.integers(1, 40), min_size=1, max_size=5), max_size=5),
    st.integers(8, 40), st.integers(1, 8), st.integers(1, 5), st.integers(1, 4), st.integers(0, 2**32),
)  # fmt: skip
def test_every_example_is_whole(
    example_class: Any, documents: list[list[int]], sequence: int, predictions: int, ngram: int, copies: int, seed: int
) -> None:
    predictions = min(predictions, sequence - 3)
    masking = Masking(ENTRIES, sequence, predictions, 0.15, ngram)
    found = parsed(records(SFC64(seed), block(documents), masking, copies, 0.1), example_class)
    counts = dict(zip(COUNTS, masking.counts.tolist(), strict=False))
    assert len(found) == counts["examples"] >= copies * len(documents) - counts["unpaired"]
    assert counts["short_of_budget"] == 0
    for example in found:
        ids, length = example["input_ids"], sum(example["input_mask"])
        assert len(ids) == sequence
        assert ids[0] == 2
        assert ids[length - 1] == 3
        assert ids.count(3) == 2
        assert sum(map(bool, example["masked_lm_positions"])) == min(predictions, max(1, round(0.15 * length)))
