"""Masked examples as integer arrays → the bytes of tf.train.Examples in TFRecord frames (compiled: encoding.c).

About 3 kB an example at sequence length 512.
"""

import ctypes
import functools
import os
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stages.compiled import at, library
from stages.formats.examples import LENGTH, LONGEST, SEPARATOR, CExamples, Examples

SOURCE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "encoding.c")
# Every number written is below this: ids, positions, sizes. Three bytes are enough for it.
MOST = 2**21


def encoded(batches: Iterable[Examples], by_instruction: bool | None = None) -> Iterator[NDArray[np.uint8]]:
    """Each batch of examples as TFRecords, one behind another (bytes,): in the memory of the last batch.

    Checksums are made by the processor's instruction where it has one; `by_instruction` says otherwise. Raises
    ValueError for numbers and lengths that no example has.
    """
    instruction = has_crc_instruction() if by_instruction is None else by_instruction
    out = np.empty(0, np.uint8)
    for examples in batches:
        (count, sequence), predictions = examples.ids.shape, examples.positions.shape[1]
        shapes = [(count, size) for size in (sequence, sequence, 4, predictions, predictions)]
        if [array.shape for array in examples] != shapes or not predictions <= sequence <= LONGEST:
            raise ValueError("arrays of different examples")
        for array in (examples.ids, examples.positions, examples.labels):
            # As unsigned numbers, negative ones are too large as well.
            if array.size and array.view(np.uint32).max() >= MOST:
                raise ValueError(f"an id or a position is not from 0 to {MOST - 1:,}")
        lengths, separators = examples.shapes[:, LENGTH], examples.shapes[:, SEPARATOR]
        if not ((separators >= 0) & (separators < lengths) & (lengths <= sequence)).all():
            raise ValueError("a length does not fit its sequence")
        most = count * most_bytes(sequence, predictions)
        if most > len(out):
            out = np.empty(most, np.uint8)
        yield out[: _library().encode(examples.addresses(), instruction, at(out, np.uint8))]


def most_bytes(sequence: int, predictions: int) -> int:
    """An upper bound of a record's size: ids and positions take three bytes at most, weights four, flags one."""
    return 6 * sequence + 10 * predictions + 512


def checksum(data: bytes, by_instruction: bool) -> int:
    """The masked CRC-32C of a TFRecord frame; by the processor's instruction, or by tables."""
    return int(_library().checksum(data, len(data), by_instruction))


@functools.cache
def has_crc_instruction() -> bool:
    """Whether this processor computes CRC-32C by itself. Asked once: a virtual machine takes 50 µs to answer."""
    return bool(_library().has_crc_instruction())


@functools.cache
def _library() -> Any:
    """The library. Raises NotCompiled if it does not exist."""
    loaded = library(SOURCE)
    size, flag = ctypes.c_int64, ctypes.c_int32
    loaded.encode.restype, loaded.encode.argtypes = size, [ctypes.POINTER(CExamples), flag, ctypes.c_void_p]
    loaded.checksum.restype, loaded.checksum.argtypes = ctypes.c_uint32, [ctypes.c_char_p, size, flag]
    loaded.has_crc_instruction.restype, loaded.has_crc_instruction.argtypes = flag, []
    return loaded
