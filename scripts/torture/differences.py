"""A file, and the one of an undisturbed run → in what they differ, in one line, for a log that is all that is left."""

import gzip
import os
import shutil
import struct
import zlib
from collections.abc import Sequence
from pathlib import Path

# So many bytes from the first difference on are shown.
SHOWN = 16


def kept(folder: Path, clean: Path, names: Sequence[str]) -> Path:
    """Copies of these files beside the folder, as they were `found` and of the `undisturbed` run."""
    place = folder.parent
    # What lies on a small disk goes with it, and may not fit.
    while os.path.ismount(place):
        place = place.parent
    copies = place / f"{folder.name}-differs"
    for kind, source in (("found", folder), ("undisturbed", clean)):
        for name in names:
            (copies / kind / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source / name, copies / kind / name)
    return copies


def difference(found: Path, clean: Path) -> str:
    """Where two files differ first; of gzip whether their contents do, and of TFRecords in which records."""
    left, right = found.read_bytes(), clean.read_bytes()
    said = f"{_lengths(left, right, 'bytes')}, {_first(left, right)}"
    if found.suffix != ".gz":
        return said
    contents = []
    for name, data in (("it", left), ("that of the undisturbed run", right)):
        try:
            contents.append(gzip.decompress(data))
        except (OSError, EOFError, zlib.error) as error:
            return f"{said}; {name} is no whole gzip file ({error})"
    if contents[0] == contents[1]:
        return f"{said}; both decompress to the same {len(contents[0])} bytes"
    told = f"{said}; decompressed {_lengths(contents[0], contents[1], 'bytes')}, {_first(contents[0], contents[1])}"
    return f"{told}; {_records(*contents)}" if ".tfrecord" in found.name else told


def _lengths(left: Sequence[object], right: Sequence[object], unit: str) -> str:
    return f"{len(left)} {unit}" + (f" in place of {len(right)}" if len(left) != len(right) else "")


def _first(left: bytes, right: bytes) -> str:
    """The first difference, with what is there."""
    at = _prefix(left, right)
    here, there = (data[at : at + SHOWN].hex(" ") or "the end" for data in (left, right))
    return f"other from byte {at} on ({here}, not {there})"


def _prefix(left: Sequence[object], right: Sequence[object]) -> int:
    """How much of two sequences is equal from their beginnings on."""
    both = min(len(left), len(right))
    return next((at for at in range(both) if left[at] != right[at]), both)


def _records(left: bytes, right: bytes) -> str:
    here, there = _split(left), _split(right)
    at = _prefix(here, there)
    if at == min(len(here), len(there)):
        return f"{_lengths(here, there, 'records')}, equal up to record {at}"
    number = sum(one != other for one, other in zip(here, there, strict=False))
    moved = ", which only stand in another order" if sorted(here) == sorted(there) else ""
    return (
        f"{_lengths(here, there, 'records')}, {number} differ{moved}, the first of them record {at} "
        f"({_lengths(here[at], there[at], 'bytes')}, {_first(here[at], there[at])})"
    )


def _split(data: bytes) -> list[bytes]:
    """The contents of TFRecords: length (8 bytes), its CRC (4), the content, its CRC (4). The last may be none."""
    records, at = [], 0
    while at + 12 <= len(data):
        (length,) = struct.unpack_from("<Q", data, at)
        if at + 16 + length > len(data):
            break
        records.append(data[at + 12 : at + 12 + length])
        at += 16 + length
    return records + ([data[at:]] if at < len(data) else [])
