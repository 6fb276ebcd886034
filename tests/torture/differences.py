"""A file, and that of an undisturbed run → their differences in one line, for a log."""

import gzip
import os
import shutil
import struct
import zlib
from collections.abc import Sequence
from itertools import takewhile
from operator import eq, ne
from pathlib import Path

# Bytes of either file in the message, from the first difference on.
SHOWN = 16


def keep_copies(folder: Path, clean: Path, names: Sequence[str]) -> Path:
    """Copy these files, as `found` and of the `undisturbed` run, beside the folder; return the place."""
    place = folder.parent
    # A small disk disappears after the run, and may have no room.
    while os.path.ismount(place):
        place = place.parent
    copies = place / f"{folder.name}-differs"
    for kind, source in (("found", folder), ("undisturbed", clean)):
        for name in names:
            (copies / kind / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source / name, copies / kind / name)
    return copies


def difference(path: Path, clean: Path) -> str:
    """The first difference of two files; also of the contents of gzip, and of the records of TFRecords."""
    left, right = path.read_bytes(), clean.read_bytes()
    message = _bytes(left, right)
    if path.suffix != ".gz":
        return message
    contents = []
    for name, data in (("it", left), ("that of the undisturbed run", right)):
        try:
            contents.append(gzip.decompress(data))
        except (OSError, EOFError, zlib.error) as error:
            return f"{message}; {name} is no whole gzip file ({error})"
    left, right = contents
    if left == right:
        return f"{message}; both decompress to the same {len(left)} bytes"
    message += f"; decompressed {_bytes(left, right)}"
    return f"{message}; {_records(_split(left), _split(right))}" if ".tfrecord" in path.name else message


def _lengths(left: Sequence[object], right: Sequence[object], unit: str) -> str:
    return f"{len(left)} {unit}" + (f" in place of {len(right)}" if len(left) != len(right) else "")


def _bytes(left: bytes, right: bytes) -> str:
    """The lengths, the place of the first difference, and the bytes there."""
    start = sum(takewhile(bool, map(eq, left, right)))
    one, other = (data[start : start + SHOWN].hex(" ") or "the end" for data in (left, right))
    return f"{_lengths(left, right, 'bytes')}, other from byte {start} on ({one}, not {other})"


def _records(left: list[bytes], right: list[bytes]) -> str:
    first = sum(takewhile(bool, map(eq, left, right)))
    lengths = _lengths(left, right, "records")
    if first == min(len(left), len(right)):
        return f"{lengths}, equal up to record {first}"
    number = sum(map(ne, left, right))
    moved = ", which only stand in another order" if sorted(left) == sorted(right) else ""
    details = _bytes(left[first], right[first])
    return f"{lengths}, {number} differ{moved}, the first of them record {first} ({details})"


def _split(data: bytes) -> list[bytes]:
    """The contents of TFRecords: length (8 bytes), its CRC (4), the content, its CRC (4). The last may be cut."""
    records, start = [], 0
    while start + 12 <= len(data):
        (length,) = struct.unpack_from("<Q", data, start)
        if start + 16 + length > len(data):
            break
        records.append(data[start + 12 : start + 12 + length])
        start += 16 + length
    return records + ([data[start:]] if start < len(data) else [])
