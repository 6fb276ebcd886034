"""The rules: text → words → subwords, and where normalised characters come from."""

import time
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from stages.words.japanese_subwords import (
    LONGEST_WORD,
    SPECIAL_TOKENS,
    SubwordTokenizer,
    normalise,
    normalise_from,
    read_vocabulary,
    split_words,
    word_spans,
    wordpieces,
)

# What normalisation joins, splits, reorders or leaves: voiced kana, ligatures, jamo, marks, emoji, white space.
TRICKY = (
    "かガｶﾊﾞﾟ\u3099\u309a㌔㍿ﬁＡａ１①½İßςa\u0301\u0316\u0300e한ᄒ\u1161\u11abㅏﾡￂ가कि\u0e49\u0e33"
    "👨\u200d👩🇯🇵☺\ufe0f葛\U000e0100 \u3000\u00a0\u2028\t\n\r\x1c"
)
texts = st.text(st.sampled_from(TRICKY) | st.characters(exclude_categories=["Cs"]), max_size=60)


@pytest.mark.parametrize(
    ("text", "plain", "spans"),
    [
        ("", "", []),
        ("日本", "日本", [(0, 1), (1, 2)]),
        ("ＡＢ", "AB", [(0, 1), (1, 2)]),
        ("ｶﾞｷ", "ガキ", [(0, 2), (2, 3)]),
        ("あ㌔い", "あキロい", [(0, 1), (1, 2), (1, 2), (2, 3)]),
        ("か\u3099き", "がき", [(0, 2), (2, 3)]),
        ("\u1112\u1161\u11ab글", "한글", [(0, 3), (3, 4)]),
        ("葛\U000e0100城", "葛\U000e0100城", [(0, 1), (1, 2), (2, 3)]),
        # The marks change places, so both come from both.
        ("a\u0301\u0316", "\u00e1\u0316", [(0, 3), (0, 3)]),
        # What is not printable goes, but for white space.
        ("\ufeff日\u200b本\u00ad\n語", "日本\n語", [(1, 2), (3, 4), (5, 6), (6, 7)]),
        ("\u200dｶﾞ\u2060\x07\ue000\u200e", "ガ", [(1, 3)]),
        ("\u200b", "", []),
    ],
)
def test_origin_of_normalised_characters(text: str, plain: str, spans: list[tuple[int, int]]) -> None:
    found, starts, ends = normalise_from(text)
    assert found == plain
    assert list(zip(starts, ends, strict=True)) == spans


@given(texts)
@example("\U00016d63\U00016d67a")  # Composes from Unicode 16 on, without being a mark.
def test_origins_are_ordered_and_hold_their_characters(text: str) -> None:
    plain, starts, ends = normalise_from(text)
    assert plain == normalise(text)
    assert len(plain) == len(starts) == len(ends)
    assert starts == sorted(starts)
    assert ends == sorted(ends)
    for character, start, end in zip(plain, starts, ends, strict=True):
        assert 0 <= start < end <= len(text)
        assert character in normalise(text[start:end])
    # Nothing of the text is left without a part in the result, but for characters that are nothing.
    covered = {place for start, end in zip(starts, ends, strict=True) for place in range(start, end)}
    assert all(place in covered or not normalise(text[place]) for place in range(len(text)))


def test_origins_of_a_long_text() -> None:
    plain, starts, ends = normalise_from("か\u3099" * 100_000)
    assert plain == "が" * 100_000
    assert (starts[-1], ends[-1]) == (199_998, 200_000)


@pytest.mark.parametrize(
    "piece",
    ["\u0301\u0316", "\u0315\u0300", "\ufdfa", "か\u3099", "\u1112\u1161\u11ab", "\u200b", "ｶﾞ\n", "[MASK]", "["],
)
def test_hostile_text_takes_linear_time(piece: str) -> None:
    """Quadratic time takes a minute and more; here it is a second of processor time."""
    start = time.process_time()
    text = "一" + piece * 100_000
    plain, starts, _ = normalise_from(text)
    assert len(plain) == len(starts)
    rules = SubwordTokenizer({entry: number for number, entry in enumerate([*SPECIAL_TOKENS, "一", "か"])}, "character")
    first, *_ = rules.tokens(text, located=True)
    assert first[:2] == ("一", 0)
    assert time.process_time() - start < 15


def words(text: str, spaces: str = "") -> list[str]:
    return [text[start:end] for start, end in word_spans(text, frozenset(spaces))]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        ("単語単位で分かち書きをします。", ["単語", "単位", "で", "分かち", "書き", "を", "し", "ます", "。"]),
        ("私 は", ["私", "は"]),
        (" \t\n", []),
        ("New York", ["New", "York"]),
    ],
)
def test_words(text: str, expected: list[str]) -> None:
    assert words(text) == split_words(text) == expected


def test_white_space_is_a_word_only_where_asked() -> None:
    assert words("私 は\tA", spaces=" ") == ["私", " ", "は", "A"]
    assert words("  ", spaces=" ") == [" ", " "]


def test_pieces_may_come_from_elsewhere() -> None:
    assert list(word_spans("単語 単位で", pieces=["単語 単位で"])) == [(0, 2), (3, 6)]


@given(texts.map(normalise))
def test_words_hold_all_text_but_white_space(text: str) -> None:
    assert "".join(words(text)) == "".join(text.split())
    assert "".join(words(text, spaces=text)) == text
    assert words(text) == split_words(text)


VOCABULARY = {piece: number for number, piece in enumerate(["分か", "##ち", "分", "##か", "##", "#", "a", "##a"])}


@pytest.mark.parametrize(
    ("word", "pieces"),
    [
        ("分かち", ["分か", "##ち"]),
        ("分か", ["分か"]),
        ("分ちか", ["分", "##ち", "##か"]),
        ("分かつ", None),
        ("ち", None),
        ("##", ["##"]),
        ("", []),
        ("a" * LONGEST_WORD, ["a"] + ["##a"] * (LONGEST_WORD - 1)),
        ("a" * (LONGEST_WORD + 1), None),
    ],
)
def test_wordpieces(word: str, pieces: list[str] | None) -> None:
    assert wordpieces(word, VOCABULARY) == pieces


GOOD = b"[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\n \n\xe3\x81\x82\n"


def test_read_vocabulary_keeps_the_space(tmp_path: Path) -> None:
    path = tmp_path / "vocab.txt"
    expected = {"[PAD]": 0, "[UNK]": 1, "[CLS]": 2, "[SEP]": 3, "[MASK]": 4, " ": 5, "あ": 6}
    for content in (GOOD, GOOD.rstrip(b"\n"), GOOD.replace(b"\n", b"\r\n")):
        path.write_bytes(content)
        assert read_vocabulary(str(path)) == expected


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (b"", "has no \\[PAD\\]"),
        (b"hello\nworld\n", "has no \\[PAD\\] \\[UNK\\]"),
        (GOOD + b"\n", "line 8: an empty line"),
        (GOOD + b"[UNK]\n", "line 8: '\\[UNK\\]' stands there twice"),
        (GOOD + b"\xff\n", "line 8: not UTF-8"),
    ],
)
def test_what_is_no_vocabulary_is_named(tmp_path: Path, content: bytes, fault: str) -> None:
    path = tmp_path / "vocab.txt"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=f"vocab.txt.*{fault}"):
        read_vocabulary(str(path))
