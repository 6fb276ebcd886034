"""Clean text → its sentences that are kept, as lines, and counts of all that were met.

A sentence ends behind a run of `。`, `?` and `!`; the last one of a text may have no such end. Sentences are trimmed,
empty ones do not count. `REASONS` to drop one, in this order: too short, too long, or a `\\displaystyle` in it.

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
    """Sentences met, kept and dropped, and the characters of those kept."""

    met: int
    kept: int
    characters: int
    too_short: int
    too_long: int
    equation: int
    _fields_ = [(name, ctypes.c_int64) for name in ("met", "kept", "characters", *REASONS)]


def keep(points_at: int, length: int, min_length: int, max_length: int, counts: Counts) -> bytes:
    """The sentences of `min_length` to `max_length` characters, each with a line end, in UTF-8; `counts` grow.

    `points_at` is the address of `length` code points of clean text and of room for one more. They are overwritten.
    """
    return ctypes.string_at(points_at, _keep()(points_at, length, min_length, max_length, counts))


@functools.cache
def _keep() -> Callable[..., int]:
    function = compiled.library(SOURCE).keep
    function.restype = ctypes.c_int64
    function.argtypes = [ctypes.c_void_p, *[ctypes.c_int64] * 3, ctypes.POINTER(Counts)]
    return function
