"""Clean text → the sentences to keep, as lines, and counts.

A sentence ends after a run of `。`, `?` and `!`; the last sentence of a text may have no such end. Sentences are
trimmed, and empty ones do not count. A sentence is dropped for one of `REASONS`, checked in this order: it is too
short, too long, or contains `\\displaystyle`.

The rules are C (`sentences.c`).
"""

import ctypes
import functools
import os
from collections.abc import Callable

from stages import compiled

SOURCE = os.path.join(os.path.dirname(__file__), "sentences.c")

REASONS = ("too_short", "too_long", "equation")


class Counts(ctypes.Structure):
    """Numbers of sentences read, kept and dropped, and of the characters of those kept."""

    read: int
    kept: int
    characters: int
    too_short: int
    too_long: int
    equation: int
    _fields_ = [(name, ctypes.c_int64) for name in ("read", "kept", "characters", *REASONS)]


def keep(address: int, length: int, min_length: int, max_length: int, counts: Counts) -> bytes:
    """The sentences of `min_length` to `max_length` characters, each with a line end, in UTF-8. Adds to `counts`.

    `address` is that of `length` code points of clean text and of room for one more. They are overwritten.
    """
    return ctypes.string_at(address, _keep()(address, length, min_length, max_length, counts))


@functools.cache
def _keep() -> Callable[..., int]:
    function = compiled.library(SOURCE).keep
    function.restype = ctypes.c_int64
    function.argtypes = [ctypes.c_void_p, *[ctypes.c_int64] * 3, ctypes.POINTER(Counts)]
    return function
