"""One example's integer arrays → the bytes of a tf.train.Example → a TFRecord frame.

The wire format of tensorflow/core/example/{example,feature}.proto, written directly: a map of feature
names to packed lists. About 3 kB an example at sequence length 512.
"""

import struct

import google_crc32c
import numpy as np
from numba import njit

# The names, in the order in which they are written; all are integers but for the weights.
FEATURES = (
    "input_ids",
    "input_mask",
    "segment_ids",
    "token_boundary",
    "masked_lm_positions",
    "masked_lm_ids",
    "masked_lm_weights",
    "next_sentence_labels",
)
NAMES = np.frombuffer("".join(FEATURES).encode(), np.uint8)
NAME_ENDS = np.cumsum([0, *map(len, FEATURES)])
WEIGHTS = FEATURES.index("masked_lm_weights")
ONE = np.frombuffer(struct.pack("<f", 1), np.uint8)


def most_bytes(length: int, predictions: int) -> int:
    """An upper bound of an example's size: ids of up to 21 bits take three bytes, the rest one or two."""
    return 6 * length + 9 * predictions + 512


@njit(cache=True)
def _varint_size(value):
    size = 1
    while value >= 128:
        value >>= 7
        size += 1
    return size


@njit(cache=True)
def _put_varint(buffer, at, value):
    while value >= 128:
        buffer[at] = (value & 127) | 128
        at += 1
        value >>= 7
    buffer[at] = value
    return at + 1


@njit(cache=True)
def _field_size(payload):
    """A length-delimited field: tag, length, payload."""
    return 1 + _varint_size(payload) + payload


@njit(cache=True)
def _put_field(buffer, at, number, payload):
    """The tag and the length of a length-delimited field (wire type 2)."""
    buffer[at] = number << 3 | 2
    return _put_varint(buffer, at + 1, payload)


@njit(cache=True)
def _entry_size(name, payload):
    """A map entry: key, and a Feature that holds a list that holds the packed payload."""
    return _field_size(NAME_ENDS[name + 1] - NAME_ENDS[name]) + _field_size(_field_size(_field_size(payload)))


@njit(cache=True)
def _put_entry(buffer, at, name, payload):
    """All of a map entry but its payload."""
    length = NAME_ENDS[name + 1] - NAME_ENDS[name]
    at = _put_field(buffer, at, 1, _entry_size(name, payload))
    at = _put_field(buffer, at, 1, length)
    buffer[at : at + length] = NAMES[NAME_ENDS[name] : NAME_ENDS[name + 1]]
    at = _put_field(buffer, at + length, 2, _field_size(_field_size(payload)))
    at = _put_field(buffer, at, 2 if name == WEIGHTS else 3, _field_size(payload))
    return _put_field(buffer, at, 1, payload)


@njit(cache=True)
def encode(buffer, at, ids, length, separator, starts, positions, labels, predicted, swapped):
    """Write one Example at `buffer[at:]`; returns where it ends.

    `ids` (sequence length,) and `positions`, `labels` (predictions,) are padded with zeros; the first
    `length` and `predicted` count.
    """
    sequence, predictions = len(ids), len(positions)
    payloads = np.full(len(NAME_ENDS) - 1, sequence)
    payloads[0] = 0
    for value in ids:
        payloads[0] += _varint_size(value)
    payloads[4] = payloads[5] = 0
    for index in range(predictions):
        payloads[4] += _varint_size(positions[index])
        payloads[5] += _varint_size(labels[index])
    payloads[WEIGHTS] = 4 * predictions
    payloads[7] = 1
    total = 0
    for name in range(len(payloads)):
        total += _field_size(_entry_size(name, payloads[name]))

    at = _put_field(buffer, at, 1, total)
    at = _put_entry(buffer, at, 0, payloads[0])
    for value in ids:
        at = _put_varint(buffer, at, value)
    for name in range(1, 4):
        at = _put_entry(buffer, at, name, sequence)
        for position in range(sequence):
            if name == 1:
                buffer[at] = position < length
            elif name == 2:
                buffer[at] = separator < position < length
            else:
                buffer[at] = position < length and starts[position]
            at += 1
    at = _put_entry(buffer, at, 4, payloads[4])
    for value in positions:
        at = _put_varint(buffer, at, value)
    at = _put_entry(buffer, at, 5, payloads[5])
    for value in labels:
        at = _put_varint(buffer, at, value)
    at = _put_entry(buffer, at, WEIGHTS, payloads[WEIGHTS])
    for index in range(predictions):
        for byte in range(4):
            buffer[at] = ONE[byte] if index < predicted else 0
            at += 1
    at = _put_entry(buffer, at, 7, 1)
    buffer[at] = swapped
    return at + 1


def frame(record: bytes) -> bytes:
    """A TFRecord frame: length, its checksum, the record, its checksum (masked CRC-32C, little endian)."""
    length = struct.pack("<Q", len(record))
    return b"".join((length, _checksum(length), record, _checksum(record)))


def _checksum(data: bytes) -> bytes:
    crc = google_crc32c.value(data)
    return struct.pack("<I", ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF)
