"""Bytes of an input file → batches of whole documents → documents with text and title, and faults."""

import html
import json
import re
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import orjson

from stages.command.refusal import Refusal
from stages.corpus.cleaning import PARAGRAPH

# The kinds of files, by the first line. CirrusSearch dumps, legacy or newer: an action line `{"index": {"_id": …}}`,
# then the document as a line of JSON. JSON lines: an object with `text` and optionally `title`. WikiExtractor's output:
# `<doc … title="…">`, lines of text in which `&lt;` is `<`, `</doc>`. Text: blank lines between documents.
CIRRUSSEARCH, JSON_LINES, WIKIEXTRACTOR, TEXT = "cirrussearch", "json lines", "wikiextractor", "text"

# Reasons to leave out a document, and a line (only if bad lines are skipped).
DOCUMENT_REASONS = ("redirect", "not_article_namespace", "no_text", "skip_list", "no_sentence_left")
LINE_REASONS = ("bad_utf8", "bad_json", "bad_document", "document_without_action", "action_without_document")

# A worker takes about 5 ms for 1 MiB. All lines and documents of real dumps are far smaller than 64 MiB.
BATCH_BYTES = 1 << 20
LONGEST_DOCUMENT = 1 << 26

# What a line that begins a document has, and its form.
_BEGINNINGS = {
    CIRRUSSEARCH: (b'"index"', re.compile(rb'\s*\{\s*"index"\s*:')),
    WIKIEXTRACTOR: (b"<doc", re.compile(rb"\s*<doc\b[^>]*>")),
}
_JSON_START = re.compile(r'\s*(\{\s*("|$)|\[\s*(\{|$))')
_MARKUP = {"a dump of MediaWiki in XML": "<mediawiki", "XML": r"<\?xml", "HTML": "<(!doctype|html)"}
_TITLE = re.compile(r'\btitle="([^"]*)"')
_BLANK_LINE = re.compile(r"\n\s*\n")


class Batch(NamedTuple):
    """Lines of whole documents of the file at `path`. `first`: the number of the first line, from 1."""

    path: str
    kind: str
    first: int
    data: bytes


class Document(NamedTuple):
    """A document. `dropped`: one of `DOCUMENT_REASONS`, None if the document is kept."""

    text: str
    title: str | None = None
    dropped: str | None = None


class Fault(NamedTuple):
    """A line that cannot be read: its number, one of `LINE_REASONS`, and a message."""

    line: int
    reason: str
    message: str


def kind_of(path: str, line: bytes) -> str:
    """The kind of a file whose first line that is not blank is `line`. Refusal, with the likely kind, for another."""
    try:
        text = line.decode()
    except UnicodeDecodeError as error:
        raise Refusal(f"{path} is neither gzip, bzip2 nor UTF-8 text (byte {error.start} of the first line)")
    if "\0" in text:
        raise Refusal(f"{path} holds NUL bytes in its first line: an archive, or no text at all")
    for what, start in _MARKUP.items():
        if re.match(rf"\s*{start}\b", text, re.IGNORECASE):
            raise Refusal(
                f"{path} is {what}; a CirrusSearch dump, JSON lines, WikiExtractor's output or plain text is needed"
            )
    if _BEGINNINGS[WIKIEXTRACTOR][1].match(line):
        return WIKIEXTRACTOR
    if not _JSON_START.match(text):
        return TEXT
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        what = f"its first line is no JSON value ({error})"
        raise Refusal(f"{path} begins like JSON, but {what}; one object a line is read")
    if isinstance(value, dict):
        if _is_action(value):
            return CIRRUSSEARCH
        if "text" in value:
            return JSON_LINES
    raise Refusal(f'{path} is JSON, but its first line is neither {{"index": {{"_id": …}}}} nor an object with "text"')


def batches(path: str, kind: str, blocks: Iterable[bytes]) -> Iterator[Batch]:
    """The bytes of one file in batches of slightly more than 1 MiB, cut between documents.

    Refusal, with the number of the line, for more than 64 MiB in one line, in one document, or in blank lines.
    """
    pending = bytearray()
    first, searched, blank = 1, 0, 0
    for block in blocks:
        pending += block
        if len(pending) < BATCH_BYTES:
            continue
        cut = _last_start(kind, pending, searched)
        if cut:
            data = bytes(memoryview(pending)[:cut])
            yield Batch(path, kind, first, data)
            blank = blank + cut if data.isspace() else 0
            # `_lines` is faster than `count` for the long lines of a dump.
            first += data.count(b"\n") if blank else sum(1 for _ in _lines(data)) - 1
            if blank > LONGEST_DOCUMENT:
                raise Refusal(f"{path}, line {first}: nothing but blank lines in the 64 MiB before it")
            del pending[:cut]
        # No whole line begins a document, except possibly the first.
        searched = pending.rfind(b"\n") + 1
        if len(pending) - searched > LONGEST_DOCUMENT:
            line = first + pending.count(b"\n")
            raise Refusal(f"{path}, line {line}: longer than 64 MiB; one document a line is read")
        if searched > LONGEST_DOCUMENT:
            remedy = "; put a blank line between documents" if kind == TEXT else ""
            raise Refusal(f"{path}, line {first}: no document ends within 64 MiB from here{remedy}")
    if pending:
        yield Batch(path, kind, first, bytes(pending))


def _last_start(kind: str, lines: bytearray, searched: int) -> int:
    """The start of the last whole line from `searched` on that begins a document; 0 if there is none."""
    end = lines.rfind(b"\n")
    part, form = _BEGINNINGS.get(kind, (None, None))
    while end >= searched:
        if part:
            # Skip the lines after it without a loop in Python: there may be millions.
            index = lines.rfind(part, searched, end)
            if index < 0:
                return 0
            end = lines.find(b"\n", index)
        start = max(lines.rfind(b"\n", searched, end) + 1, searched)
        if form:
            begins = form.match(lines, start, end) is not None
        else:
            begins = kind == JSON_LINES or not lines[start:end].strip()
        if begins:
            return start
        end = start - 1
    return 0


def _lines(data: bytes) -> Iterator[memoryview]:
    """The lines without their line ends; the last one may be empty. No copies are made: a dump's lines are long."""
    view = memoryview(data)
    start = 0
    while (end := data.find(b"\n", start)) >= 0:
        yield view[start:end]
        start = end + 1
    yield view[start:]


def documents(batch: Batch, skip_ids: frozenset[str]) -> Iterator[Document | Fault]:
    """The documents of a batch in order, with a fault in place of each line that cannot be read."""
    if batch.kind == TEXT:
        return _text(batch)
    return _extracted(batch) if batch.kind == WIKIEXTRACTOR else _json(batch, skip_ids)


def _json(batch: Batch, skip_ids: frozenset[str]) -> Iterator[Document | Fault]:
    action: tuple[int, Any] | None = None
    for number, value in _objects(batch):
        if isinstance(value, Fault):
            # The line may be the document of the previous action line, or an action line.
            yield value
            action = None
        elif batch.kind == JSON_LINES:
            yield _type_fault(number, value) or _document(value.get("text") or "", value.get("title"))
        elif _is_action(value):
            if action:
                yield _missing_document(action[0])
            action = number, value["index"]["_id"]
        elif not action:
            yield Fault(number, "document_without_action", "a document without an action line before it")
        else:
            yield _type_fault(number, value) or _dump_document(value, str(action[1]) in skip_ids)
            action = None
    if action:
        yield _missing_document(action[0])


def _is_action(value: dict[str, Any]) -> bool:
    return isinstance(value.get("index"), dict) and "_id" in value["index"]


def _missing_document(number: int) -> Fault:
    return Fault(number, "action_without_document", "an action line without a document after it")


def _dump_document(value: dict[str, Any], skipped: bool) -> Document:
    document = _document(value.get("text") or "", value.get("title"))
    if value.get("page_type") == "redirect":
        return document._replace(dropped="redirect")
    if value.get("namespace") not in (None, 0, "0"):
        return document._replace(dropped="not_article_namespace")
    return document._replace(dropped=document.dropped or ("skip_list" if skipped else None))


def _document(text: str, title: str | None) -> Document:
    """A document whose text has line ends: a blank line ends a paragraph."""
    return Document(_BLANK_LINE.sub(PARAGRAPH, text) if "\n" in text else text, title, None if text else "no_text")


def _extracted(batch: Batch) -> Iterator[Document | Fault]:
    """The documents of WikiExtractor's output."""
    begun, title = 0, None
    lines: list[str] = []
    for number, data in enumerate(batch.data.split(b"\n"), batch.first):
        try:
            line = data.decode()
        except UnicodeDecodeError as error:
            yield Fault(number, "bad_utf8", f"not UTF-8 (byte {error.start} of the line)")
            continue
        if _BEGINNINGS[WIKIEXTRACTOR][1].match(data):
            if begun:
                yield Fault(begun, "bad_document", "a document without </doc>")
            name = _TITLE.search(line)
            begun, title, lines = number, html.unescape(name[1]) if name else None, []
        elif begun and line.strip() == "</doc>":
            yield _document(html.unescape("\n".join(lines)).strip(), title)
            begun = 0
        elif begun:
            lines.append(line)
        elif line.strip():
            yield Fault(number, "bad_document", "text between </doc> and <doc>")
    if begun:
        yield Fault(begun, "bad_document", "a document without </doc>")


def _text(batch: Batch) -> Iterator[Document | Fault]:
    """The documents of plain text. Each line end becomes a space."""
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


def _objects(batch: Batch) -> Iterator[tuple[int, dict[str, Any] | Fault]]:
    """The number and the JSON object of each line that is not blank.

    The standard library reads again what orjson refuses: it accepts lone surrogates (`\\ud800`), which cleaning drops,
    and its messages are better.
    """
    for number, line in enumerate(_lines(batch.data), batch.first):
        value: Any
        try:
            value = orjson.loads(line)
        except orjson.JSONDecodeError:
            text = bytes(line)
            if not text.strip():
                continue
            try:
                value = json.loads(text.decode(), parse_constant=_refuse_constant)
            except UnicodeDecodeError as error:
                value = Fault(number, "bad_utf8", f"not UTF-8 (byte {error.start} of the line)")
            except (ValueError, RecursionError) as error:
                value = Fault(number, "bad_json", f"not JSON ({error})")
        if not isinstance(value, dict | Fault):
            value = Fault(number, "bad_document", f"JSON of type {type(value).__name__}, not an object")
        yield number, value


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON value")


def _type_fault(number: int, value: dict[str, Any]) -> Fault | None:
    for name in ("text", "title"):
        field = value.get(name)
        if not (field is None or isinstance(field, str)):
            return Fault(number, "bad_document", f'"{name}" is of type {type(field).__name__}, not a string')
    return None
