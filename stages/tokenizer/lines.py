"""Files and standard input → lines of text, as they arrive."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from typing import IO

from stages.command.refusal import Refusal

# The most bytes of one read. A line that is typed into a pipe is answered immediately.
BLOCK_BYTES = 1 << 18
# A longer line is refused: to encode one of 10 MB takes 1.2 GB of memory.
LONGEST_LINE = 1 << 24
# The index of a line in a list → the file and line number, for messages.
Address = Callable[[int], str]


class BadLine(Refusal):
    """A line that cannot be processed; `index`: its place in the list of one read. The lines before it are valid."""

    def __init__(self, address: Address, index: int, message: str) -> None:
        super().__init__(address(index) + message)
        self.index = index


def read_lines(paths: Iterable[str]) -> Iterator[tuple[Address, list[str]]]:
    r"""The lines of files (`-`: standard input) without their `\n`, in lists: the complete lines of one read.

    Each list has a function that gives the address of a line. A line ends at `\n` alone. Refuses bytes that are not
    UTF-8, naming file, line and byte, and a line of over 16 MiB, after the lines before it.
    """
    for path in paths:
        name = "standard input" if path == "-" else path
        try:
            with open(sys.stdin.fileno() if path == "-" else path, "rb", closefd=path != "-") as stream:
                yield from _decode(name, _raw_lines(name, stream))
        except OSError as error:
            raise Refusal(f"cannot read {path}: {error.strerror}")


def _raw_lines(name: str, stream: IO[bytes]) -> Iterator[list[bytes]]:
    parts: list[bytes] = []  # of the line that is not complete
    size = number = 0
    while block := stream.read1(BLOCK_BYTES):  # type: ignore[attr-defined]
        first, *rest = block.split(b"\n")
        parts.append(first)
        size += len(first)
        if size > LONGEST_LINE:
            raise Refusal(
                f"{name}, line {number + 1}: over {LONGEST_LINE >> 20} MiB without an end; is it text, in lines?"
            )
        if rest:
            lines = [b"".join(parts), *rest[:-1]]
            number += len(lines)
            yield lines
            parts, size = [rest[-1]], len(rest[-1])
    if any(parts):
        yield [b"".join(parts)]


def _decode(name: str, batches: Iterable[list[bytes]]) -> Iterator[tuple[Address, list[str]]]:
    number = 1
    for batch in batches:

        def address(index: int, first: int = number) -> str:
            return f"{name}, line {first + index}"

        number += len(batch)
        lines: list[str] = []
        for line in batch:
            try:
                lines.append(line.decode())
            except UnicodeDecodeError as error:
                yield address, lines
                raise Refusal(
                    f"{address(len(lines))}, byte {error.start + 1} (0x{line[error.start]:02x}): not UTF-8; "
                    "convert the text first, with iconv for instance"
                )
        yield address, lines
