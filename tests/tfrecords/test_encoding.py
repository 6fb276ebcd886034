"""The bytes of an example, read back by protobuf's own classes; the frame around it, by another CRC-32C."""

import struct
from typing import Any

import google_crc32c
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.formats.encoding import checksum, encoded, has_crc_instruction, most_bytes
from stages.formats.examples import Examples

FEATURES = {
    "input_ids", "input_mask", "segment_ids", "token_boundary", "masked_lm_positions", "masked_lm_ids",
    "masked_lm_weights", "next_sentence_labels",
}  # fmt: skip
# On both sides of every varint length that a vocabulary can need.
VALUES = np.array([0, 1, 127, 128, 16383, 16384, 2**21 - 1], np.int32)


def frames(data: bytes) -> list[bytes]:
    """The records of a TFRecord stream; both checksums of each are verified."""
    records = []
    while data:
        (length,) = struct.unpack_from("<Q", data)
        record = data[12 : 12 + length]
        assert struct.unpack_from("<I", data, 8)[0] == masked(data[:8])
        assert struct.unpack_from("<I", data, 12 + length)[0] == masked(record)
        records.append(record)
        data = data[16 + length :]
    return records


def masked(data: bytes) -> int:
    crc = int(google_crc32c.value(data))
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def drawn(sequence: int, predictions: int, count: int, seed: int) -> Examples:
    """Examples of random content, with zeros behind it."""
    random = np.random.default_rng(seed)
    lengths = random.integers(5, sequence + 1, count)
    shapes = np.stack(
        [lengths, random.integers(2, lengths - 2), random.integers(1, predictions + 1, count), np.arange(count) % 2], 1
    ).astype(np.int32)
    inside = np.arange(sequence) < shapes[:, :1]
    used = np.arange(predictions) < shapes[:, 2:3]
    return Examples(
        np.where(inside, random.choice(VALUES, (count, sequence)), 0).astype(np.int32),
        inside & (random.random((count, sequence)) < 0.5),
        shapes,
        np.where(used, random.integers(0, lengths[:, None], (count, predictions)), 0).astype(np.int32),
        np.where(used, random.choice(VALUES, (count, predictions)), 0).astype(np.int32),
    )


@settings(max_examples=50)
@given(st.integers(8, 300), st.integers(1, 80), st.integers(1, 4), st.integers(0, 2**32))
def test_protobuf_reads_what_was_written(
    example_class: Any, sequence: int, predictions: int, count: int, seed: int
) -> None:
    predictions = min(predictions, sequence)
    examples = drawn(sequence, predictions, count, seed)
    (data,) = encoded([examples])
    assert len(data) <= count * most_bytes(sequence, predictions)
    records = frames(data.tobytes())
    assert len(records) == count
    place = np.arange(sequence)
    for row, record in enumerate(records):
        length, separator, predicted, swapped = examples.shapes[row].tolist()
        features = example_class.FromString(record).features.feature
        assert set(features) == FEATURES
        expected: dict[str, Any] = {
            "input_ids": examples.ids[row],
            "input_mask": place < length,
            "segment_ids": (place > separator) & (place < length),
            "token_boundary": examples.starts[row],
            "masked_lm_positions": examples.positions[row],
            "masked_lm_ids": examples.labels[row],
            "next_sentence_labels": [swapped],
        }
        for name, values in expected.items():
            assert list(features[name].int64_list.value) == [int(value) for value in values], name
        weights = list(features["masked_lm_weights"].float_list.value)
        assert weights == [1.0] * predicted + [0.0] * (predictions - predicted)


def test_batches_share_memory_and_nothing_else() -> None:
    batches = [drawn(32, 5, count, count) for count in (3, 1, 7, 0)]
    one_by_one = [data.tobytes() for batch in batches for data in encoded([batch])]
    assert [data.tobytes() for data in encoded(batches)] == one_by_one
    assert [len(frames(data)) for data in one_by_one] == [3, 1, 7, 0]


@pytest.mark.parametrize("sequence", [8, 65536])
def test_the_largest_numbers_fit_their_bound(sequence: int) -> None:
    ids = np.full((1, sequence), VALUES[-1])
    shapes = np.array([[sequence, 2, sequence, 1]], np.int32)
    (data,) = encoded([Examples(ids, np.ones((1, sequence), bool), shapes, ids, ids)])
    assert len(data) <= most_bytes(sequence, sequence)
    assert len(frames(data.tobytes())) == 1


@given(st.binary(max_size=300))
def test_both_ways_to_a_checksum(data: bytes) -> None:
    assert checksum(data, by_instruction=False) == masked(data)
    if has_crc_instruction():
        assert checksum(data, by_instruction=True) == masked(data)


def test_both_ways_give_the_same_records() -> None:
    if not has_crc_instruction():
        pytest.skip("this processor has no instruction for CRC-32C")
    examples = drawn(512, 20, 50, 0)
    (by_table,) = encoded([examples], by_instruction=False)
    (by_instruction,) = encoded([examples], by_instruction=True)
    assert by_table.tobytes() == by_instruction.tobytes()


def test_arrays_that_no_example_has_are_errors() -> None:
    examples = drawn(16, 4, 2, 0)

    def refused(message: str, **other: Any) -> None:
        with pytest.raises(ValueError, match=message):
            list(encoded([examples._replace(**other)]))

    refused("an id or a position is not from 0 to 2,097,151", ids=np.full((2, 16), 2**21, np.int32))
    refused("an id or a position is not", labels=np.full((2, 4), -1, np.int32))
    refused("a length does not fit", shapes=np.array([[17, 3, 1, 0]] * 2, np.int32))
    refused("a length does not fit", shapes=np.array([[9, 9, 1, 0]] * 2, np.int32))
    refused("a length does not fit", shapes=np.array([[9, -1, 1, 0]] * 2, np.int32))
    refused("arrays of different examples", starts=np.ones((2, 15), bool))
    refused("arrays of different examples", positions=np.zeros((1, 4), np.int32))
