"""Bytes of one process → bytes of another, through memory that both see, or a file where they are too many for it.

A pipe takes what it carries twice through the system, 64 KiB at a time, and pickling copies it once more: for a dump
that was as much work as cleaning it. And a process that reads what a killed one had begun to write to a pipe waits for
the rest without end.
"""

import mmap
import os
import tempfile
from collections.abc import Callable
from typing import Any, NamedTuple

# More than a batch has, but for documents of several MiB; memory that is never touched costs nothing.
SLOT_BYTES = 1 << 22


class Slot(NamedTuple):
    """Where bytes lie."""

    number: int
    length: int


class Slots:
    """As many slots as said, in memory that processes share which are forked after this; each with a file beside it."""

    def __init__(self, number: int) -> None:
        self._memory = mmap.mmap(-1, number * SLOT_BYTES)
        # Without names, and empty: for what is longer than a slot.
        self._files = [tempfile.TemporaryFile() for _ in range(number)]
        self._free = list(range(number))

    def take(self) -> int:
        """The number of a slot that nobody else has."""
        return self._free.pop()

    def give_back(self, number: int) -> None:
        self._free.append(number)

    def close(self) -> None:
        """Leave the files, in this process."""
        for file in self._files:
            file.close()

    def put(self, number: int, data: bytes) -> Slot:
        """`data` in this slot."""
        if len(data) > SLOT_BYTES:
            self._spill(number, data)
        else:
            start = number * SLOT_BYTES
            self._memory[start : start + len(data)] = data
        return Slot(number, len(data))

    def get(self, place: Slot) -> bytes:
        """What `put` was given."""
        if place.length > SLOT_BYTES:
            return self._spilled(place)
        start = place.number * SLOT_BYTES
        return self._memory[start : start + place.length]

    def _spill(self, number: int, data: bytes) -> None:
        # Processes that were forked have one position in the file together: none of them uses it.
        file, written = self._files[number].fileno(), 0
        while written < len(data):
            written += os.pwrite(file, memoryview(data)[written:], written)

    def _spilled(self, place: Slot) -> bytes:
        file, parts, at = self._files[place.number].fileno(), [], 0
        while at < place.length:
            parts.append(os.pread(file, place.length - at, at))
            if not parts[-1]:
                raise EOFError(f"a slot has {at} of {place.length} bytes")
            at += len(parts[-1])
        os.ftruncate(file, 0)
        return b"".join(parts)

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
