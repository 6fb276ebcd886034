"""Files and standard input → lines of text, as they come."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from typing import IO

from stages.command.refusal import Refusal

# Read at a time at most; a line typed into a pipe is answered immediately all the same.
BLOCK_BYTES = 1 << 18
# A longer line is refused: to encode one of 10 MB takes 1.2 GB of memory.
LONGEST_LINE = 1 << 24
# The place of a line in a list → where it stands, for a person.
Where = Callable[[int], str]


class BadLine(Refusal):
    """A line that cannot be worked on; `number`: its place in the list it was read in. Those before it can be."""

    def __init__(self, where: Where, number: int, message: str) -> None:
        super().__init__(where(number) + message)
        self.number = number


def read_lines(paths: Iterable[str]) -> Iterator[tuple[Where, list[str]]]:
    r"""The lines of files (`-`: standard input) without their `\n`, in lists: as many as one read has completed.

    With each list goes a function of a line's place in it, which says where the line stands. A line ends at `\n` alone.
    Refuses what is not UTF-8, naming file, line and byte, and a line of over 16 MiB, after the lines before it.
    """
    for path in paths:
        name = "standard input" if path == "-" else path
        try:
            with open(sys.stdin.fileno() if path == "-" else path, "rb", closefd=path != "-") as stream:
                yield from _decoded(name, _raw_lines(name, stream))
        except OSError as error:
            raise Refusal(f"cannot read {path}: {error.strerror}")


def _raw_lines(name: str, stream: IO[bytes]) -> Iterator[list[bytes]]:
    begun: list[bytes] = []
    size = number = 0
    while block := stream.read1(BLOCK_BYTES):  # type: ignore[attr-defined]
        first, *rest = block.split(b"\n")
        begun.append(first)
        size += len(first)
        if size > LONGEST_LINE:
            raise Refusal(
                f"{name}, line {number + 1}: over {LONGEST_LINE >> 20} MiB without an end; is it text, in lines?"
            )
        if rest:
            lines = [b"".join(begun), *rest[:-1]]
            number += len(lines)
            yield lines
            begun, size = [rest[-1]], len(rest[-1])
    if any(begun):
        yield [b"".join(begun)]


def _decoded(name: str, batches: Iterable[list[bytes]]) -> Iterator[tuple[Where, list[str]]]:
    number = 0
    for batch in batches:

        def where(line: int, before: int = number) -> str:
            return f"{name}, line {before + line + 1}"

        number += len(batch)
        try:
            lines = [line.decode() for line in batch]
        except UnicodeDecodeError:
            lines = []
            for line in batch:
                try:
                    lines.append(line.decode())
                except UnicodeDecodeError as error:
                    yield where, lines
                    raise Refusal(
                        f"{where(len(lines))}, byte {error.start + 1} (0x{line[error.start]:02x}): not UTF-8; "
                        "convert the text first, with iconv for instance"
                    )
        yield where, lines
