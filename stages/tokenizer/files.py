"""A model folder → its tokenizer; files and standard input → lines of text, as they come."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from typing import IO, Any

from stages import storage
from stages.handover import Refusal, read_json

from .encoding import Tokenizer
from .japanese_subwords import SPECIAL_TOKENS, SubwordTokenizer, WholeToken, read_vocabulary

CONFIG = "tokenizer_config.json"
VOCABULARY = "vocab.txt"
# The models that come with this project: released/character/tiny.
RELEASED = "released"
CLASS = "BertJapaneseTinySegmenterTokenizer"
# Read at a time at most; a line typed into a pipe is answered at once all the same.
BLOCK_BYTES = 1 << 18
# A longer line is refused: to encode one of 10 MB takes 1.2 GB of memory.
LONGEST_LINE = 1 << 24
# The place of a line in a list → where it stands, for a person.
Where = Callable[[int], str]
# Where transformers has no bound, it writes 1e30.
NO_LENGTH = 1 << 40


class BadLine(Refusal):
    """A line that cannot be worked on; `number`: its place in the list it was read in. Those before it can be."""

    def __init__(self, where: Where, number: int, message: str) -> None:
        super().__init__(where(number) + message)
        self.number = number


def located(folder: str) -> str:
    """Where a folder of models is. `released`, and all below it, comes with this project, unless the folder exists."""
    ours = folder.split("/")[0] == RELEASED and not os.path.isdir(folder)
    return os.path.join(os.path.dirname(os.path.abspath(__file__)), folder) if ours else folder


def read_tokenizer(folder: str) -> Tokenizer:
    """The tokenizer of a model folder: no code of the folder is run, no network asked, transformers not needed.

    Refuses a folder that lacks a file, is of another tokenizer, or holds a vocabulary that is none.
    """
    if storage.remote(folder):
        with tempfile.TemporaryDirectory(prefix="model-") as copy:
            fetch_model(folder, copy, (VOCABULARY, CONFIG))
            try:
                return read_tokenizer(copy)
            except Refusal as refusal:
                raise type(refusal)(str(refusal).replace(copy, folder))
    if not os.path.isdir(folder):
        raise Refusal(f"there is no model folder {folder}; make convert writes one")
    missing = [name for name in (VOCABULARY, CONFIG) if not os.path.isfile(os.path.join(folder, name))]
    if missing:
        raise Refusal(f"{folder} is no model folder: it has no {' and no '.join(missing)}; make convert writes one")
    config = read_json(os.path.join(folder, CONFIG))
    name = config.get("tokenizer_class") if isinstance(config, dict) else None
    if name != CLASS:
        raise Refusal(f"{os.path.join(folder, CONFIG)} names the tokenizer {name}, another one than this project's")
    try:
        return _tokenizer(config, read_vocabulary(os.path.join(folder, VOCABULARY)))
    except ValueError as error:
        raise Refusal(f"cannot read the tokenizer of {folder}: {error}")
    except OSError as error:
        raise Refusal(f"cannot read the tokenizer of {folder}: {error.strerror}")


def fetch_model(folder: str, copy: str, wanted: Iterable[str]) -> None:
    """Copy the files of a model that is in a bucket, those of `wanted` that are there."""
    for name in sorted({*wanted} & set(storage.names(folder))):
        storage.fetch(storage.join(folder, name), os.path.join(copy, name))


def _tokenizer(config: dict[str, Any], vocabulary: dict[str, int]) -> Tokenizer:
    """ValueError for a value that is of no use, in the words of the configuration."""

    def setting(name: str, kind: type, usual: Any) -> Any:
        value = config.get(name, usual)
        if value is not None and not isinstance(value, kind):
            raise ValueError(f"{CONFIG} has {value!r} for {name}, which must be of the type {kind.__name__}")
        return usual if value is None else value

    added, whole = _added_tokens(setting("added_tokens_decoder", dict, {}))
    ids = {**vocabulary, **{token.content: id_ for id_, token in added.items()}}
    named = {}
    for token in SPECIAL_TOKENS:
        name = f"{token[1:-1].lower()}_token"
        value = config.get(name) or token
        content = value.get("content") if isinstance(value, dict) else value
        if not isinstance(content, str) or content not in ids:
            raise ValueError(f"{CONFIG} has {content!r} for {name}, which is no entry of the vocabulary")
        named[name] = content
        whole.setdefault(content, WholeToken(content))
    for content in setting("never_split", list, []):
        if isinstance(content, str) and content:
            whole.setdefault(content, WholeToken(content, normalized=True, special=False))

    rules = SubwordTokenizer(
        vocabulary,
        subword_tokenizer_type=setting("subword_tokenizer_type", str, "wordpiece"),
        do_lower_case=setting("do_lower_case", bool, False),
        do_word_tokenize=setting("do_word_tokenize", bool, True),
        do_subword_tokenize=setting("do_subword_tokenize", bool, True),
        manual_subword_marking=setting("manual_subword_marking", bool, False),
        unk_token=named["unk_token"],
    )
    rules.mark_whole(whole.values())
    length = setting("model_max_length", int, NO_LENGTH)
    return Tokenizer(
        rules,
        {id_: token.content for id_, token in added.items()},
        special=frozenset(ids[token.content] for token in whole.values() if token.special),
        cls=ids[named["cls_token"]],
        sep=ids[named["sep_token"]],
        mask=ids[named["mask_token"]],
        max_length=None if length >= NO_LENGTH else length,
        keep_end=setting("truncation_side", str, "right") == "left",
    )


def _added_tokens(decoder: dict[str, Any]) -> tuple[dict[int, WholeToken], dict[str, WholeToken]]:
    """transformers' `added_tokens_decoder`, which the special tokens are in as well: by id, and by content."""
    by_id: dict[int, WholeToken] = {}
    for id_, given in decoder.items():
        try:
            number, content = int(id_), given["content"]
            conditions = [bool(given.get(name, False)) for name in WholeToken._fields[1:]]
        except (ValueError, TypeError, KeyError, AttributeError):
            raise ValueError(f"{CONFIG} has no token for {id_} in added_tokens_decoder") from None
        if not isinstance(content, str) or not content or not 0 <= number < 1 << 20:
            raise ValueError(f"{CONFIG} has no token for {id_} in added_tokens_decoder")
        by_id[number] = WholeToken(content, *conditions)
    return by_id, {token.content: token for token in by_id.values()}


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
