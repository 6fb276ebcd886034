"""Files and standard input → lines of text, as they arrive."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from typing import IO, NamedTuple

from stages.command.refusal import Refusal

# The most bytes of one read. A line that is typed into a pipe is answered immediately.
BLOCK_BYTES = 1 << 18
# A longer line is refused: to encode one of 10 MB takes 1.2 GB of memory.
LONGEST_LINE = 1 << 24


class Lines(NamedTuple):
    """The complete lines of one read without their `\\n`: the file's name, the number of the first line, the texts."""

    name: str
    first: int
    texts: list[str]

    def bad(self, index: int, message: str) -> BadLine:
        """The refusal of a line. The message continues a sentence that starts with its place."""
        return BadLine(f"{self.name}, line {self.first + index}{message}", index)


class BadLine(Refusal):
    """A line that cannot be processed; `index`: its place in the lines of one read. The lines before it are valid."""

    def __init__(self, message: str, index: int) -> None:
        super().__init__(message)
        self.index = index


def read_lines(paths: Iterable[str]) -> Iterator[Lines]:
    r"""The lines of files (`-`: standard input). A line ends at `\n` alone.

    Refuses bytes that are not UTF-8, naming file, line and byte, and a line of over 16 MiB, after the lines before it.
    """
    for path in paths:
        name, number = "standard input" if path == "-" else path, 1
        try:
            with open(sys.stdin.fileno() if path == "-" else path, "rb", closefd=path != "-") as stream:
                for raw in _raw_lines(name, stream):
                    yield from _decoded(Lines(name, number, []), raw)
                    number += len(raw)
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
            limit = f"over {LONGEST_LINE >> 20} MiB without an end"
            raise Refusal(f"{name}, line {number + 1}: {limit}; is it text, in lines?")
        if rest:
            lines = [b"".join(parts), *rest[:-1]]
            number += len(lines)
            yield lines
            parts, size = [rest[-1]], len(rest[-1])
    if any(parts):
        yield [b"".join(parts)]


def _decoded(lines: Lines, raw: list[bytes]) -> Iterator[Lines]:
    """`lines` with the text of the raw ones; those before an invalid line come before its refusal."""
    for line in raw:
        try:
            lines.texts.append(line.decode())
        except UnicodeDecodeError as error:
            yield lines
            place = f"line {lines.first + len(lines.texts)}, byte {error.start + 1} (0x{line[error.start]:02x})"
            remedy = "convert the text first, with iconv for instance"
            raise Refusal(f"{lines.name}, {place}: not UTF-8; {remedy}")
    yield lines
