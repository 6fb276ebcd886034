"""Lines of input → documents: kinds, pairs of lines, faults with their line numbers, batches."""

import itertools
import json
from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.command.refusal import Refusal
from stages.corpus import documents
from stages.corpus.documents import (
    CIRRUSSEARCH,
    JSON_LINES,
    TEXT,
    WIKIEXTRACTOR,
    Batch,
    Document,
    Fault,
    batches,
    kind_of,
)

ACTION = b'{"index":{"_type":"_doc","_id":"7"}}'


def read(kind: str, *lines: bytes, skip: Iterable[str] = ()) -> list[Document | Fault]:
    return list(documents.documents(Batch("file", kind, 1, b"\n".join(lines)), frozenset(skip)))


@pytest.mark.parametrize(
    ("line", "kind"),
    [
        (ACTION, CIRRUSSEARCH),
        (b'{"index": {"_id": 2332351}}', CIRRUSSEARCH),
        (b' { "index" : { "_id" : 1 } } ', CIRRUSSEARCH),
        (b'{"text": "a"}', JSON_LINES),
        (b'{"title": "t", "text": null}', JSON_LINES),
        ('<doc id="7" url="https://ja.wikipedia.org/wiki?curid=7" title="題">'.encode(), WIKIEXTRACTOR),
        (b"<doc>", WIKIEXTRACTOR),
        (b"<document> is a tag", TEXT),
        ("日本語の文章。".encode(), TEXT),
        (b"{{Template}} text", TEXT),
        ("[注1]から始まる".encode(), TEXT),
    ],
)
def test_kinds(line: bytes, kind: str) -> None:
    assert kind_of("file", line) == kind


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b'{"text": "a"', "no JSON value"),
        (b"[", "no JSON value"),
        (b'[{"text": "a"}]', "neither"),
        (b'{"title": "a"}', "neither"),
        (b"\xff\xfea\x00", "UTF-8"),
        (b"ustar\0", "NUL"),
        (b"<!DOCTYPE html>", "HTML"),
        (b'<mediawiki xmlns="x">', "is a dump of MediaWiki in XML"),
        (b'<?xml version="1.0"?>', "is XML"),
    ],
)
def test_other_files_are_told_apart(line: bytes, message: str) -> None:
    with pytest.raises(Refusal, match=f"^file .*{message}"):
        kind_of("file", line)


@pytest.mark.parametrize(
    ("document", "dropped"),
    [
        ({"text": "本文", "title": "題", "namespace": 0}, None),
        ({"text": "本文"}, None),
        ({"text": "本文", "namespace": None}, None),
        ({"text": "本文", "redirect": [{"namespace": 0, "title": "別名"}]}, None),
        ({"text": "本文", "page_type": "redirect"}, "redirect"),
        ({"text": "本文", "namespace": 10}, "not_article_namespace"),
        ({"title": "題"}, "no_text"),
        ({"text": None}, "no_text"),
        ({"text": ""}, "no_text"),
    ],
)
def test_documents_of_a_dump(document: dict[str, object], dropped: str | None) -> None:
    (made,) = read(CIRRUSSEARCH, ACTION, json.dumps(document).encode())
    assert isinstance(made, Document)
    assert made.dropped == dropped
    assert made.text == (document.get("text") or "")


@pytest.mark.parametrize("action", [b'{"index": {"_id": 7}}', b'{"index": {"_id": "7"}}'])
def test_skip_list_takes_both_forms_of_ids(action: bytes) -> None:
    assert read(CIRRUSSEARCH, action, b'{"text":"a"}', skip=["7"]) == [Document("a", None, "skip_list")]
    assert read(CIRRUSSEARCH, action, b'{"text":"a"}', skip=["70"]) == [Document("a")]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b'{"text":"a"', "bad_json"),
        (b'{"text":"a","x":NaN}', "bad_json"),
        (b'{"text":"a","x":-Infinity}', "bad_json"),
        (b'{"text":"a"} {"text":"b"}', "bad_json"),
        (b'{"x":' + b"[" * 100_000, "bad_json"),
        (b'{"text":"\xff"}', "bad_utf8"),
        (b'{"x":"\xff","text":"a"}', "bad_utf8"),
        (b'{"text":"\xed\xa0\x80"}', "bad_utf8"),
        (b'{"text":1}', "bad_document"),
        (b'{"text":"a","title":["t"]}', "bad_document"),
        (b'["text"]', "bad_document"),
    ],
)
@pytest.mark.parametrize("kind", [CIRRUSSEARCH, JSON_LINES])
def test_faults_name_line_and_reason_and_leave_the_rest(kind: str, line: bytes, reason: str) -> None:
    pair = [ACTION] if kind == CIRRUSSEARCH else []
    made = read(kind, *pair, b'{"text":"a"}', b"", *pair, line, *pair, b'{"text":"b"}')
    assert [made[0], made[2]] == [Document("a"), Document("b")]
    assert isinstance(made[1], Fault)
    assert (made[1].line, made[1].reason) == (2 * len(pair) + 3, reason)


def test_lone_surrogates_are_json() -> None:
    assert read(JSON_LINES, b'{"text":"a\\ud800b","x":"\\udc00"}') == [Document("a\ud800b")]


@pytest.mark.parametrize(
    ("lines", "faults"),
    [
        ([b'{"text":"a"}'], [(1, "document_without_action")]),
        ([ACTION], [(1, "action_without_document")]),
        ([ACTION, ACTION, b'{"text":"a"}'], [(1, "action_without_document")]),
        ([ACTION, b'{"text":"a"}', b'{"text":"b"}'], [(3, "document_without_action")]),
        ([b'{"index":', b'{"text":"a"}'], [(1, "bad_json"), (2, "document_without_action")]),
    ],
)
def test_lines_of_a_dump_come_in_pairs(lines: list[bytes], faults: list[tuple[int, str]]) -> None:
    assert [(made.line, made.reason) for made in read(CIRRUSSEARCH, *lines) if isinstance(made, Fault)] == faults


def test_plain_text() -> None:
    lines = ["", "一行目。", " 二行目", "", "　", "", "別の文書。"]
    assert read(TEXT, *map(str.encode, lines)) == [Document("一行目。 二行目"), Document("別の文書。")]
    made = read(TEXT, "前".encode(), b"\xff", "後".encode())
    assert made[1] == Document("前 後")
    assert isinstance(made[0], Fault)
    assert made[0].line == 2


def test_a_blank_line_of_a_json_text_ends_a_paragraph() -> None:
    line = json.dumps({"text": "本文の終わり\n\n見出し\r\n \r\n次の\n段落です。"}).encode()
    text = "本文の終わり\u2029見出し\r\u2029次の\n段落です。"
    assert read(JSON_LINES, line) == [Document(text)]
    assert read(CIRRUSSEARCH, ACTION, line) == [Document(text)]


def test_output_of_wikiextractor() -> None:
    lines = [
        '<doc id="7" title="A &amp; B">',
        "A &amp; B",
        "",
        "本文&lt;一&gt;。",
        "二行目",
        "</doc>",
        "",
        "<doc>",
        "</doc>\r",
    ]
    text = "A & B\u2029本文<一>。\n二行目"
    assert read(WIKIEXTRACTOR, *map(str.encode, lines)) == [Document(text, "A & B"), Document("", None, "no_text")]


def test_faults_of_wikiextractors_output() -> None:
    lines = ["外の文", "<doc>", "一", "<doc>", "二", "</doc>", "<doc>", "三"]
    made = read(WIKIEXTRACTOR, *map(str.encode, lines), b"\xff")
    assert [found for found in made if isinstance(found, Document)] == [Document("二")]
    faults = [(found.line, found.reason) for found in made if isinstance(found, Fault)]
    assert faults == [(1, "bad_document"), (2, "bad_document"), (9, "bad_utf8"), (7, "bad_document")]


def cut(kind: str, data: bytes, size: int, block: int) -> list[Batch]:
    """The batches of at least `size` bytes of data that comes in blocks of `block` bytes."""
    blocks = [data[start : start + block] for start in range(0, len(data), block)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(documents, "BATCH_BYTES", size)
        made = list(batches("file", kind, blocks))
    assert b"".join(batch.data for batch in made) == data
    for batch, following in itertools.pairwise(made):
        assert following.first == batch.first + batch.data.count(b"\n")
    return made


TEXT_LINES = st.lists(st.sampled_from([b"", b" \r", "あ。".encode(), "い。".encode()]), max_size=40)
DUMP_LINES = st.lists(st.sampled_from([ACTION, b'{"text":"a"}', b"", b"{"]), max_size=40)
EXTRACTED_LINES = st.lists(st.sampled_from([b"<doc>", b' <doc title="t">', b"</doc>", b"a<doc>", b""]), max_size=40)
SIZES = st.integers(1, 200)


# A busy machine is no failure.
@given(TEXT_LINES, SIZES, SIZES)
def test_batches_never_cut_a_text_document(lines: list[bytes], size: int, block: int) -> None:
    made = cut(TEXT, b"\n".join(lines), size, block)
    assert [found for batch in made for found in documents.documents(batch, frozenset())] == read(TEXT, *lines)


@given(DUMP_LINES, SIZES, SIZES)
def test_batches_never_cut_a_pair(lines: list[bytes], size: int, block: int) -> None:
    made = cut(CIRRUSSEARCH, b"\n".join(lines), size, block)
    assert [found for batch in made for found in documents.documents(batch, frozenset())] == read(CIRRUSSEARCH, *lines)


@given(EXTRACTED_LINES, SIZES, SIZES)
def test_batches_never_cut_an_extracted_document(lines: list[bytes], size: int, block: int) -> None:
    made = cut(WIKIEXTRACTOR, b"\n".join(lines), size, block)
    found = [found for batch in made for found in documents.documents(batch, frozenset())]
    assert found == read(WIKIEXTRACTOR, *lines)


@pytest.mark.parametrize(("kind", "line"), [(CIRRUSSEARCH, ACTION), (JSON_LINES, b'{"text":"a"}'), (TEXT, b"")])
def test_batches_are_small(kind: str, line: bytes) -> None:
    """However the blocks fall, a batch is cut as soon as a document has begun behind its size."""
    data = (line + b"\n" + b'{"text":"' + b"a" * 80 + b'"}\n') * 100
    assert max(len(batch.data) for batch in cut(kind, data, 300, 50)) < 600


@pytest.mark.parametrize(
    ("blocks", "line", "message"),
    [
        ([b"\n", *[b"a" * (1 << 20) + b"\n"] * 66], 1, "no document ends"),
        ([b"\n", *[b"a" * (1 << 20)] * 66], 2, "longer than 64 MiB"),
    ],
)
def test_what_never_ends_is_refused(blocks: list[bytes], line: int, message: str) -> None:
    with pytest.raises(Refusal, match=f"^file, line {line}: {message}"):
        list(batches("file", TEXT, blocks))
