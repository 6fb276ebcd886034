"""The bytes of gzip TFRecords → examples as integer arrays, a chunk at a time (compiled: encoding.c).

Every encoding of tf.train.Example that the format allows is read, whatever program wrote it. Nothing is trusted: the
checksums of gzip and TFRecord are compared, and every number is in its range.
"""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from isal import isal_zlib
from numpy.typing import NDArray

from stages.command.refusal import Refusal
from stages.compiled import at, library, structure
from stages.formats.encoding import SOURCE, has_crc_instruction
from stages.handover import storage

# Examples of a chunk: 1 MB at length 512.
ROWS = 256
# isal's stubs call the class an object.
_DAMAGED: Any = isal_zlib.error
_COMPRESSED, _UNPACKED = 1 << 17, 1 << 20
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
_TYPES = (np.int32, np.uint8, np.uint8, np.uint8, np.int32, np.int32, np.float32, np.int32)
_AGAIN = "make the TFRecords again"


# The structures of encoding.h. CTold: the bytes that were read, and the fault of the record after them.
CRecords = structure("CRecords", "data", "size entries by_instruction")
CChunk = structure("CChunk", "ids mask segments starts positions labels weights swapped", "count sequence predictions")
CTold = structure("CTold", "", "bytes", wrong=ctypes.c_int32, feature=ctypes.c_int32)


class Chunk(NamedTuple):
    """Examples, by the features of TFRecords."""

    ids: NDArray[np.int32]  # (examples, sequence) input_ids
    mask: NDArray[np.uint8]  # (examples, sequence) input_mask
    segments: NDArray[np.uint8]  # (examples, sequence) segment_ids
    starts: NDArray[np.uint8]  # (examples, sequence) token_boundary; (examples, 0) unless it was requested
    positions: NDArray[np.int32]  # (examples, predictions) masked_lm_positions
    labels: NDArray[np.int32]  # (examples, predictions) masked_lm_ids
    weights: NDArray[np.float32]  # (examples, predictions) masked_lm_weights
    swapped: NDArray[np.int32]  # (examples,) next_sentence_labels

    def rows(self, which: Any) -> Chunk:
        """Some of the examples: by a slice in this chunk's memory, by numbers in memory of their own."""
        arrays: Any = (array[which] for array in self)
        return Chunk(*arrays)


def empty(rows: int, sequence: int, predictions: int, starts: bool) -> Chunk:
    """Room for so many examples."""
    shapes = [(rows, sequence)] * 3 + [(rows, sequence * starts)] + [(rows, predictions)] * 3 + [(rows,)]
    arrays: Any = map(np.empty, shapes, _TYPES)
    return Chunk(*arrays)


def joined(parts: list[Chunk]) -> Chunk:
    """Chunks one behind another, in memory of its own."""
    arrays: Any = map(np.concatenate, zip(*parts, strict=True))
    return Chunk(*arrays)


def chunks(
    path: str, sequence: int, predictions: int, starts: bool = False, size: int = ROWS, entries: int = 2**31
) -> Iterator[Chunk]:
    """The examples of a gzip TFRecords file, `size` at a time, the last ones fewer; each chunk in memory of its own.

    Refusal, with the file and the record, for one that is cut off or damaged, for examples of another length, and for
    ids that are not below `entries`. With `starts`, an example must be a pair of texts, as masking needs it.
    """
    chunk = empty(size, sequence, predictions, starts)
    filled, record, rest = 0, 0, b""
    for data in _unpacked(path):
        data = rest + data if rest else data
        used = 0
        while True:
            count, taken = _decode(path, data, used, chunk.rows(slice(filled, None)), record, entries)
            used, filled, record = used + taken, filled + count, record + count
            if filled < size:
                break
            yield chunk
            chunk, filled = empty(size, sequence, predictions, starts), 0
        rest = data[used:]
    if rest:
        raise Refusal(f"{path} ends within its record {record + 1}; {_AGAIN}")
    if filled:
        yield chunk.rows(slice(filled))


def _unpacked(path: str) -> Iterator[bytes]:
    """The decompressed bytes of a gzip file. Refusal if it is cut off, damaged, or followed by something else."""
    try:
        with storage.reading(path) as stream:
            # wbits 31: gzip, its checksum compared at the end.
            member, data, offset = isal_zlib.decompressobj(wbits=31), b"", 0
            while True:
                if not data:
                    data = stream.read(_COMPRESSED)
                    offset += len(data)
                if member.eof:
                    # More members may follow, and nothing else.
                    data = member.unused_data + data
                    if not data:
                        return
                    member = isal_zlib.decompressobj(wbits=31)
                ended = not data
                try:
                    # Without data, what it still holds back.
                    unpacked = member.decompress(data, _UNPACKED)
                except _DAMAGED as error:
                    raise Refusal(f"{path} is no gzip file, or is damaged before byte {offset:,} ({error}); {_AGAIN}")
                if ended and not unpacked and not member.eof:
                    raise Refusal(f"{path} is cut off after {offset:,} bytes; {_AGAIN}")
                data = b"" if member.eof else member.unconsumed_tail
                if unpacked:
                    yield unpacked
    except OSError as error:
        raise Refusal(f"cannot read {path}: {error.strerror or error}")


def _decode(path: str, data: bytes, begin: int, into: Chunk, record: int, entries: int) -> tuple[int, int]:
    """The whole records of data[begin:], as many as there is room for: how many, and the bytes that they took."""
    address = ctypes.cast(ctypes.c_char_p(data), ctypes.c_void_p).value or 0
    records = CRecords(address + begin, len(data) - begin, entries, has_crc_instruction())
    arrays: Any = into
    room = CChunk(*map(at, arrays, _TYPES), *into.ids.shape, into.positions.shape[1])
    if not into.starts.shape[1]:
        room.starts = None
    outcome = CTold()
    count = _library().decode(records, room, outcome)
    if outcome.wrong:
        raise Refusal(f"{path}: record {record + count + 1} {_fault(outcome, into)}; {_AGAIN}")
    return count, outcome.bytes


_FAULTS = {
    1: "has a length that its checksum does not fit",
    2: "is not what its checksum says",
    3: "is no tf.train.Example",
    4: "is no pair of texts, [CLS] A [SEP] B [SEP], which masking needs",
}
_OUT_OF_RANGE = 6


def _fault(outcome: ctypes.Structure, into: Chunk) -> str:
    """The fault of a record, by the numbers of encoding.c."""
    if outcome.wrong in _FAULTS:
        return _FAULTS[outcome.wrong]
    name = FEATURES[outcome.feature]
    if outcome.wrong == _OUT_OF_RANGE:
        return f"has a number out of range in {name}"
    lengths = {"next_sentence_labels": 1, **dict.fromkeys(FEATURES[4:7], into.positions.shape[1])}
    return f"has other than {lengths.get(name, into.ids.shape[1])} numbers in {name}"


@functools.cache
def _library() -> Any:
    """The library. Raises NotCompiled if it does not exist."""
    loaded = library(SOURCE)
    loaded.decode.restype = ctypes.c_int64
    loaded.decode.argtypes = [ctypes.POINTER(structure) for structure in (CRecords, CChunk, CTold)]
    return loaded
