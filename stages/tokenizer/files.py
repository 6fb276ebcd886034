"""A model folder → its tokenizer; files and standard input → lines of text, as they come."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterable, Iterator
from typing import IO, TYPE_CHECKING

from stages import storage
from stages.handover import Refusal, read_json

if TYPE_CHECKING:
    from .tokenization import BertJapaneseTinySegmenterTokenizer

CONFIG = "tokenizer_config.json"
# Read at a time: a pipe's worth, so that a line typed into one is answered at once.
BLOCK_BYTES = 1 << 16


def read_tokenizer(folder: str) -> BertJapaneseTinySegmenterTokenizer:
    """The tokenizer of a model folder, in this project's own class: no code of the folder is run, no network asked.

    Refuses a folder that lacks a file, is of another tokenizer, or holds a vocabulary that is none.
    """
    if storage.remote(folder):
        with tempfile.TemporaryDirectory(prefix="model-") as copy:
            for wanted in {"vocab.txt", CONFIG} & set(storage.names(folder)):
                storage.fetch(storage.join(folder, wanted), os.path.join(copy, wanted))
            try:
                return read_tokenizer(copy)
            except Refusal as refusal:
                raise type(refusal)(str(refusal).replace(copy, folder))
    if not os.path.isdir(folder):
        raise Refusal(f"there is no model folder {folder}; make convert writes one")
    missing = [name for name in ("vocab.txt", CONFIG) if not os.path.isfile(os.path.join(folder, name))]
    if missing:
        raise Refusal(f"{folder} is no model folder: it has no {' and no '.join(missing)}; make convert writes one")
    config = read_json(os.path.join(folder, CONFIG))
    name = config.get("tokenizer_class") if isinstance(config, dict) else None

    # What transformers says on import is of no use here: that it has found no PyTorch.
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ["HF_HUB_OFFLINE"] = "1"
    from .tokenization import BertJapaneseTinySegmenterTokenizer  # 1.1 s, nearly all of it transformers

    if name != BertJapaneseTinySegmenterTokenizer.__name__:
        raise Refusal(f"{os.path.join(folder, CONFIG)} names the tokenizer {name}, another one than this project's")
    try:
        tokenizer: BertJapaneseTinySegmenterTokenizer = BertJapaneseTinySegmenterTokenizer.from_pretrained(folder)
    except ValueError as error:
        raise Refusal(f"cannot read the tokenizer of {folder}: {error}")
    return tokenizer


def read_lines(paths: Iterable[str]) -> Iterator[list[str]]:
    r"""The lines of files (`-`: standard input) without their `\n`, in lists: as many as one read has completed.

    A line ends at `\n` alone. Refuses what is not UTF-8, naming file, line and byte, after the lines before it.
    """
    for path in paths:
        try:
            with open(sys.stdin.fileno() if path == "-" else path, "rb", closefd=path != "-") as stream:
                yield from _decoded("standard input" if path == "-" else path, _raw_lines(stream))
        except OSError as error:
            raise Refusal(f"cannot read {path}: {error.strerror}")


def _raw_lines(stream: IO[bytes]) -> Iterator[list[bytes]]:
    begun: list[bytes] = []
    while block := stream.read1(BLOCK_BYTES):  # type: ignore[attr-defined]
        first, *rest = block.split(b"\n")
        begun.append(first)
        if rest:
            yield [b"".join(begun), *rest[:-1]]
            begun = [rest[-1]]
    if any(begun):
        yield [b"".join(begun)]


def _decoded(name: str, batches: Iterable[list[bytes]]) -> Iterator[list[str]]:
    number = 0
    for batch in batches:
        lines: list[str] = []
        for line in batch:
            number += 1
            try:
                lines.append(line.decode())
            except UnicodeDecodeError as error:
                yield lines
                raise Refusal(
                    f"{name}, line {number}, byte {error.start + 1} (0x{line[error.start]:02x}): not UTF-8; "
                    "convert the text first, with iconv for instance"
                )
        yield lines
