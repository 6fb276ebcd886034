"""Lines of a dump that are not as they should be: counted with --skip-bad-lines, and else refused with their place.

tests/corpus has the rules for each line, and runs the real command; here are lines that programs and broken transfers
make.
"""

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from stages.command.refusal import Refusal
from stages.corpus.__main__ import main

ACTION = b'{"index":{"_id":1}}\n'
GOOD = '{"text":"前後にある文書の文である。"}\n'.encode()
TEXT = "前後にある文書の文である。\n"
MANY = 70 << 20


def deep(levels: int) -> bytes:
    return b'{"text":' + b'{"a":' * levels + b"1" + b"}" * levels + b"}\n"


# What stands in the place of a document, the reason by which it is counted, and words of the refusal.
LINES: dict[str, tuple[bytes, str, str]] = {
    "NUL bytes": (b'{"text":"\0\0\0"}\n', "bad_json", "not JSON"),
    "a block of zeros": (bytes(5000) + b"\n", "bad_json", "not JSON"),
    "half of a character": (GOOD[:25] + b'"}\n', "bad_utf8", "not UTF-8"),
    "UTF-16": ('{"text":"い"}'.encode("utf-16-le") + b"\n", "bad_json", "not JSON"),
    "the end of a line missing": (b'{"text":"\xe5\x89\x8d\n', "bad_json", "not JSON"),
    "two documents in a line": (GOOD.rstrip() + GOOD, "bad_json", "not JSON"),
    "a byte order mark inside": (b"\xef\xbb\xbf" + GOOD, "bad_json", "not JSON"),
    "deep nesting": (deep(500), "bad_document", '"text" is of type dict, not a string'),
    "very deep nesting": (deep(200_000), "bad_json", "not JSON"),
    "deep lists": (b'{"text":"a","b":' + b"[" * 5000 + b"]" * 5000 + b"}\n", "bad_json", "not JSON"),
    "a number for the text": (b'{"text":17}\n', "bad_document", '"text" is of type int, not a string'),
    "true for the text": (b'{"text":true}\n', "bad_document", '"text" is of type bool, not a string'),
    "a list for the title": (b'{"text":"a","title":[]}\n', "bad_document", '"title" is of type list'),
    "a huge number": (b'{"text":"a","x":' + b"9" * 5000 + b"}\n", "bad_json", "not JSON"),
    "a number that is none": (b'{"text":"a","x":NaN}\n', "bad_json", "not JSON"),
    "single quotes": (b"{'text': 'a'}\n", "bad_json", "not JSON"),
    "a trailing comma": (b'{"text":"a",}\n', "bad_json", "not JSON"),
    "only a string": (b'"text"\n', "bad_document", "JSON of type str, not an object"),
    "HTML of a proxy": (b"<html><h1>502 Bad Gateway</h1></html>\n", "bad_json", "not JSON"),
}


def corpus(dump: Path, *flags: object) -> str:
    """Make a corpus of one shard beside the dump, in this process; gives the words of a refusal."""
    arguments = ["--dump", dump, "--out", dump.parent / "out", "--shards", 1, "--jobs", 1, *flags]
    try:
        main(list(map(str, arguments)))
    except Refusal as refusal:
        return str(refusal)
    return ""


def dropped(dump: Path) -> dict[str, int]:
    """The lines that the manifest counts, by reason."""
    made: dict[str, Any] = json.loads((dump.parent / "out" / "manifest.json").read_text())
    return {why: number for why, number in made["dropped"]["lines"].items() if number}


@pytest.mark.parametrize("name", LINES)
def test_a_bad_line_is_refused_with_its_place_or_counted(tmp_path: Path, name: str) -> None:
    line, reason, said = LINES[name]
    dump = tmp_path / "d.gz"
    dump.write_bytes(gzip.compress((ACTION + GOOD) * 2 + ACTION + line + ACTION + GOOD))
    refused = corpus(dump)
    assert refused.startswith(f"{dump}, line 6: ")
    assert said in refused
    # However long a line is, what is told of it is not.
    assert len(refused) < 1000
    assert corpus(dump, "--skip-bad-lines") == ""
    assert dropped(dump) == {reason: 1}
    assert (tmp_path / "out" / "corpus_00000.txt").read_text() == f"{TEXT}\n" * 3


@pytest.mark.parametrize(
    ("line", "text"),
    [
        (GOOD.rstrip() + b"\r\n", TEXT),
        (b" \t " + GOOD, TEXT),
        (
            '{"text":"先の文は数えられない。","text":"後の文だけが数えられる。"}\n'.encode(),
            "後の文だけが数えられる。\n",
        ),
        ('{"text":"NUL\\u0000のある文である。"}\n'.encode(), None),
        ('{"text":"行末の\\r\\nある文書の文である。"}\n'.encode(), None),
    ],
    ids=["CRLF", "spaces", "the same key twice", "an escaped NUL", "line ends inside"],
)
def test_an_odd_line_is_read_by_the_rule(tmp_path: Path, line: bytes, text: str | None) -> None:
    (tmp_path / "d").write_bytes(ACTION.rstrip() + b"\r\n" + line + ACTION + GOOD)
    assert corpus(tmp_path / "d") == ""
    made = (tmp_path / "out" / "corpus_00000.txt").read_text(encoding="utf-8")
    assert made.endswith(f"\n\n{TEXT}\n")
    # One sentence a line, whatever was in it.
    assert made.count("\n") == 4
    assert not {"\0", "\r"} & set(made)
    assert text is None or made.startswith(text)


@pytest.mark.parametrize("kind", ["dump", "json lines", "text"])
def test_a_gigantic_line_is_refused_in_every_kind_of_file(tmp_path: Path, kind: str) -> None:
    """Also behind good ones, and also where bad lines are skipped: what it held cannot be counted."""
    long = b'{"text":"' + b"a" * MANY + b'"}\n'
    data = {"dump": ACTION + GOOD + ACTION + long, "json lines": GOOD + long, "text": b"a\n\n" + long}[kind]
    line = {"dump": 4, "json lines": 2, "text": 3}[kind]
    dump = tmp_path / "d.gz"
    dump.write_bytes(gzip.compress(data, 1))
    assert corpus(dump, "--skip-bad-lines").startswith(f"{dump}, line {line}: longer than 64 MiB")


@pytest.mark.parametrize(
    ("lines", "counted"),
    [
        ([ACTION, ACTION, GOOD], {"action_without_document": 1}),
        ([ACTION, GOOD, GOOD], {"document_without_action": 1}),
        ([ACTION], {"action_without_document": 1}),
        ([b'{"create":{"_id":2}}\n', GOOD], {"document_without_action": 2}),
        ([b'{"index":{}}\n', GOOD], {"document_without_action": 2}),
        ([b'{"index":null}\n', GOOD], {"document_without_action": 2}),
        ([b'{"index":{"_id":null}}\n', GOOD], {}),
        ([b'{"delete":{"_id":2}}\n'], {"document_without_action": 1}),
    ],
    ids=["twice", "none", "last", "create", "empty", "null", "no id", "delete"],
)
def test_odd_and_missing_action_lines_are_counted(tmp_path: Path, lines: list[bytes], counted: dict[str, int]) -> None:
    dump = tmp_path / "d"
    dump.write_bytes(ACTION + GOOD + b"".join(lines))
    if counted:
        assert corpus(dump).startswith(f"{dump}, line 3: ") or corpus(dump).startswith(f"{dump}, line 5: ")
    assert corpus(dump, "--skip-bad-lines") == ""
    assert dropped(dump) == counted
