"""The bytes of an example, read back by protobuf's own classes."""

import struct
from typing import Any

import google_crc32c
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.tfrecords.encoding import FEATURES, encode, frame, most_bytes


@settings(deadline=None, max_examples=50)
@given(st.data(), st.integers(8, 300), st.integers(1, 80))
def test_protobuf_reads_what_was_written(
    example_class: Any, data: st.DataObject, sequence: int, predictions: int
) -> None:
    draw = data.draw
    length = draw(st.integers(5, sequence))
    separator = draw(st.integers(2, length - 3))
    predicted = draw(st.integers(1, predictions))
    # Ids on both sides of every varint length that a vocabulary can need.
    generator = np.random.default_rng(draw(st.integers(0, 2**32)))
    values = np.array([1, 127, 128, 16383, 16384, 2**21 - 1])
    ids = np.zeros(sequence, np.int32)
    ids[:length] = generator.choice(values, length)
    starts = generator.random(sequence) < 0.5
    positions, labels = np.zeros(predictions, np.int64), np.zeros(predictions, np.int64)
    positions[:predicted] = generator.integers(0, length, predicted)
    labels[:predicted] = generator.choice(values, predicted)
    buffer = np.empty(most_bytes(sequence, predictions) + 5, np.uint8)
    end = encode(buffer, 5, ids, length, separator, starts, positions, labels, predicted, 1)

    example = example_class.FromString(buffer[5:end].tobytes())
    features = example.features.feature
    assert set(features) == set(FEATURES)
    place = np.arange(sequence)
    expected: dict[str, Any] = {
        "input_ids": ids,
        "input_mask": place < length,
        "segment_ids": (place > separator) & (place < length),
        "token_boundary": starts & (place < length),
        "masked_lm_positions": positions,
        "masked_lm_ids": labels,
        "next_sentence_labels": [1],
    }
    for name, values in expected.items():
        assert list(features[name].int64_list.value) == [int(value) for value in values], name
    assert list(features["masked_lm_weights"].float_list.value) == [1.0] * predicted + [0.0] * (predictions - predicted)


@pytest.mark.parametrize("record", [b"", b"a", b"example" * 1000])
def test_frames(record: bytes) -> None:
    framed = frame(record)
    assert len(framed) == len(record) + 16
    (length,) = struct.unpack_from("<Q", framed)
    assert length == len(record)
    assert framed[12:-4] == record

    def unmasked(at: int) -> int:
        value: int = struct.unpack_from("<I", framed, at)[0] - 0xA282EAD8 & 0xFFFFFFFF
        return (value << 15 | value >> 17) & 0xFFFFFFFF

    assert unmasked(8) == google_crc32c.value(framed[:8])
    assert unmasked(len(framed) - 4) == google_crc32c.value(record)
