"""Bytes of one process → bytes of another, through memory that both see.

A pipe takes what it carries twice through the system, 64 KiB at a time, and pickling copies it once more: for a dump
that was as much work as cleaning it.
"""

import mmap
from collections.abc import Callable
from typing import Any, NamedTuple

# More than a batch has, but for documents of several MiB; memory that is never touched costs nothing.
SLOT_BYTES = 1 << 22


class Slot(NamedTuple):
    """Where bytes lie."""

    number: int
    length: int


class Slots:
    """As many slots as said, in memory that processes share which are forked after this."""

    def __init__(self, number: int) -> None:
        self._memory = mmap.mmap(-1, number * SLOT_BYTES)
        self._free = list(range(number))

    def take(self) -> int:
        """The number of a slot that nobody else has."""
        return self._free.pop()

    def give_back(self, number: int) -> None:
        self._free.append(number)

    def put(self, number: int, data: bytes) -> Slot | bytes:
        """`data` in this slot; `data` itself where it is too long for one."""
        if len(data) > SLOT_BYTES:
            return data
        start = number * SLOT_BYTES
        self._memory[start : start + len(data)] = data
        return Slot(number, len(data))

    def get(self, place: Slot | bytes) -> bytes:
        """What `put` was given."""
        if isinstance(place, bytes):
            return place
        start = place.number * SLOT_BYTES
        return self._memory[start : start + place.length]

    def put_in(self, value: Any, number: int) -> Any:
        """A named tuple with its field of bytes, if it has one, in this slot; anything else as it is."""
        return _replaced(value, bytes, lambda data: self.put(number, data))

    def taken_out(self, value: Any) -> Any:
        """What `put_in` was given."""
        return _replaced(value, Slot, self.get)


def _replaced(value: Any, kind: type, by: Callable[[Any], Any]) -> Any:
    for field in getattr(value, "_fields", ()):
        if isinstance(part := getattr(value, field), kind):
            return value._replace(**{field: by(part)})
    return value
