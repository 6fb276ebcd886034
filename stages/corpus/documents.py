"""Bytes of an input file → batches of whole documents → documents with text and title, or a named fault.

Three kinds of file, told apart by their first line:

- ``cirrussearch``: a CirrusSearch dump, legacy or newer: an action line `{"index": {"_id": …}}`, then the
  document as one line of JSON;
- ``json lines``: an object with `text`, optionally `title`, a line;
- ``text``: plain text, a blank line between documents.
"""

import json
import re
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import orjson

CIRRUSSEARCH = "cirrussearch"
JSON_LINES = "json lines"
TEXT = "text"

# Why a document is left out, and why a line is (the latter only where bad lines may be skipped).
DOCUMENT_REASONS = ("redirect", "not_article_namespace", "no_text", "skip_list", "no_sentence_left")
LINE_REASONS = ("bad_utf8", "bad_json", "bad_document", "document_without_action", "action_without_document")

# 1 MiB of lines keeps a worker busy for some 5 ms; no line or document of a real dump comes near 64 MiB.
BATCH_BYTES = 1 << 20
LONGEST_DOCUMENT = 1 << 26

_ACTION = re.compile(rb'\s*\{\s*"index"\s*:')
_MEANT_AS_JSON = re.compile(r'\s*(\{\s*("|$)|\[\s*(\{|$))')
_MARKUP = re.compile(r"\s*<(!doctype|html|\?xml|mediawiki)\b", re.IGNORECASE)


class Batch(NamedTuple):
    """Lines of the file at `path` that begin and end where documents do; `first`: the number of the first, from 1."""

    path: str
    kind: str
    first: int
    data: bytes


class Document(NamedTuple):
    """What a document says of itself. `dropped` is one of `DOCUMENT_REASONS` where it is none to keep."""

    text: str
    title: str | None = None
    dropped: str | None = None


class Fault(NamedTuple):
    """A line that cannot be read: its number, one of `LINE_REASONS`, and what is wrong in words."""

    line: int
    reason: str
    message: str


class UnknownKind(ValueError):
    """The first line of a file is of none of the three kinds."""


class TooLong(ValueError):
    """A line, or lines that end no document or are blank, of more than 64 MiB: `line` is the number of the first, or of
    the line behind the blank ones."""

    def __init__(self, line: int, message: str) -> None:
        super().__init__(message)
        self.line = line


def kind_of(line: bytes) -> str:
    """The kind of a file whose first line with anything on it is `line`; `UnknownKind` says what else it looks like."""
    try:
        text = line.decode()
    except UnicodeDecodeError as error:
        raise UnknownKind(f"is neither gzip, bzip2 nor UTF-8 text (byte {error.start} of the first line)")
    if "\0" in text:
        raise UnknownKind("holds NUL bytes in its first line: an archive, or no text at all")
    if _MARKUP.match(text):
        raise UnknownKind("is HTML or XML; a CirrusSearch dump, JSON lines or plain text is needed")
    if not _MEANT_AS_JSON.match(text):
        return TEXT
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UnknownKind(f"begins like JSON, but its first line is no JSON value ({error}); one object a line is read")
    if isinstance(value, dict):
        if _is_action(value):
            return CIRRUSSEARCH
        if "text" in value:
            return JSON_LINES
    raise UnknownKind('is JSON, but its first line is neither {"index": {"_id": …}} nor an object with "text"')


def batches(path: str, kind: str, blocks: Iterable[bytes]) -> Iterator[Batch]:
    """The bytes of one file in batches of 1 MiB and little more, cut between two documents."""
    pending = bytearray()
    first, searched, blank = 1, 0, 0
    for block in blocks:
        pending += block
        if len(pending) < BATCH_BYTES:
            continue
        cut = _last_beginning(kind, pending, searched)
        if cut:
            data = bytes(memoryview(pending)[:cut])
            yield Batch(path, kind, first, data)
            blank = blank + cut if data.isspace() else 0
            # For the long lines of a dump `find` is the faster of the two.
            first += data.count(b"\n") if blank else sum(1 for _ in _lines(data)) - 1
            if blank > LONGEST_DOCUMENT:
                raise TooLong(first, "nothing but blank lines in the 64 MiB before it")
            del pending[:cut]
        # None of the whole lines begins a document, but for the very first.
        searched = pending.rfind(b"\n") + 1
        if len(pending) - searched > LONGEST_DOCUMENT:
            line = first + pending.count(b"\n")
            raise TooLong(line, "longer than 64 MiB; one document a line is read")
        if searched > LONGEST_DOCUMENT:
            raise TooLong(first, "no document ends within 64 MiB from here; put a blank line between documents")
    if pending:
        yield Batch(path, kind, first, bytes(pending))


def _last_beginning(kind: str, lines: bytearray, searched: int) -> int:
    """Where the last whole line from `searched` on that begins a document begins; 0 without such a line."""
    end = lines.rfind(b"\n")
    while end >= searched:
        if kind == CIRRUSSEARCH:
            # Python need not look at the lines behind it, which may be millions.
            mention = lines.rfind(b'"index"', searched, end)
            if mention < 0:
                return 0
            end = lines.find(b"\n", mention)
        start = max(lines.rfind(b"\n", searched, end) + 1, searched)
        if _begins_document(kind, lines, start, end):
            return start
        end = start - 1
    return 0


def _lines(data: bytes) -> Iterator[memoryview]:
    """The lines without their line ends; the last one may be empty. Nothing is copied: a dump's lines are long."""
    view = memoryview(data)
    start = 0
    while (end := data.find(b"\n", start)) >= 0:
        yield view[start:end]
        start = end + 1
    yield view[start:]


def _begins_document(kind: str, lines: bytearray, start: int, end: int) -> bool:
    if kind == CIRRUSSEARCH:
        return _ACTION.match(lines, start, end) is not None
    return kind == JSON_LINES or not lines[start:end].strip()


def documents(batch: Batch, skip_ids: frozenset[str]) -> Iterator[Document | Fault]:
    """The documents of a batch in their order, with a fault in the place of each line that cannot be read."""
    if batch.kind == CIRRUSSEARCH:
        return _cirrussearch(batch, skip_ids)
    return _json_lines(batch) if batch.kind == JSON_LINES else _text(batch)


def _cirrussearch(batch: Batch, skip_ids: frozenset[str]) -> Iterator[Document | Fault]:
    action: tuple[int, Any] | None = None
    for number, line in enumerate(_lines(batch.data), batch.first):
        value = _object(number, line)
        if value is None:
            continue
        if isinstance(value, Fault):
            # The line may have been the document of the action line before it, or an action line itself.
            yield value
            action = None
        elif _is_action(value):
            if action:
                yield _without_document(action[0])
            action = number, value["index"]["_id"]
        elif not action:
            yield Fault(number, "document_without_action", "a document without an action line before it")
        else:
            yield _fault_of(number, value) or _dump_document(value, str(action[1]) in skip_ids)
            action = None
    if action:
        yield _without_document(action[0])


def _is_action(value: dict[str, Any]) -> bool:
    return isinstance(value.get("index"), dict) and "_id" in value["index"]


def _dump_document(value: dict[str, Any], skipped: bool) -> Document:
    text, title = value.get("text") or "", value.get("title")
    if value.get("page_type") == "redirect":
        return Document(text, title, "redirect")
    if value.get("namespace") not in (None, 0, "0"):
        return Document(text, title, "not_article_namespace")
    if not text:
        return Document(text, title, "no_text")
    return Document(text, title, "skip_list" if skipped else None)


def _json_lines(batch: Batch) -> Iterator[Document | Fault]:
    for number, line in enumerate(_lines(batch.data), batch.first):
        value = _object(number, line)
        if value is None:
            continue
        if isinstance(value, Fault):
            yield value
        else:
            text = value.get("text") or ""
            yield _fault_of(number, value) or Document(text, value.get("title"), None if text else "no_text")


def _text(batch: Batch) -> Iterator[Document | Fault]:
    """Documents of plain text. Each line end becomes a space, as MediaWiki does it in a dump's `text`."""
    paragraph: list[str] = []
    for number, line in enumerate([*batch.data.split(b"\n"), b""], batch.first):
        try:
            text = line.decode().strip()
        except UnicodeDecodeError as error:
            yield Fault(number, "bad_utf8", f"not UTF-8 (byte {error.start} of the line)")
            continue
        if text:
            paragraph.append(text)
        elif paragraph:
            yield Document(" ".join(paragraph))
            paragraph = []


def _object(number: int, line: memoryview) -> dict[str, Any] | Fault | None:
    """A line's JSON object, None for a blank line. What orjson refuses is read again by the standard library: it takes
    lone surrogates (`\\ud800`), which are JSON and which cleaning drops, and it tells better what is wrong."""
    value: Any
    try:
        value = orjson.loads(line)
    except orjson.JSONDecodeError:
        text = bytes(line)
        if not text.strip():
            return None
        try:
            value = json.loads(text.decode(), parse_constant=_no_constant)
        except UnicodeDecodeError as error:
            return Fault(number, "bad_utf8", f"not UTF-8 (byte {error.start} of the line)")
        except (ValueError, RecursionError) as error:
            return Fault(number, "bad_json", f"not JSON ({error})")
    if not isinstance(value, dict):
        return Fault(number, "bad_document", f"JSON of type {type(value).__name__}, not an object")
    return value


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON value")


def _fault_of(number: int, value: dict[str, Any]) -> Fault | None:
    for name in ("text", "title"):
        found = value.get(name)
        if not (isinstance(found, str) or found is None):
            return Fault(number, "bad_document", f'"{name}" is of type {type(found).__name__}, not a string')
    return None


def _without_document(number: int) -> Fault:
    return Fault(number, "action_without_document", "an action line without a document behind it")
