"""Cleaning: each rule with its Japanese example, and all rules against plain expressions of them."""

import ctypes
import random
import re
import sys
import time
import unicodedata

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from stages.corpus.cleaning import Cleaner, is_joining
from stages.words.japanese_subwords import normalise
from stages.words.normal_forms import nfkc

CLEANER = Cleaner()


def clean(text: str, title: str | None = None) -> str:
    length = CLEANER.clean(text, title)
    assert length < len(CLEANER.points)
    return ctypes.string_at(CLEANER.address, 4 * length).decode("utf-32-le")


def joins(character: str) -> bool:
    """Whether the character may combine with the ones before it in NFKC."""
    return is_joining(unicodedata.normalize("NFKD", character)[0])


CASES = [
    # NFKC, and what cannot be printed goes: zero-width spaces, controls, lone surrogates.
    ("ＡＢＣ（１２）ｶﾞｷﾞ㍿①", None, "ABC(12)ガギ株式会社1"),
    ("か\u3099き", None, "がき"),
    ("一行目\u200bです\x00。\ue000", None, "一行目です。"),
    # White space of any kind separates; a paragraph ends with a line end.
    ("一行目\n二行目\tです\x0b。\x85\u2028", None, "一行目 二行目 です 。"),
    ("New York\r\nPost", None, "New York Post"),
    ("終わり \u2029\n 見出し\u2029\u2029", None, "終わり\n見出し"),
    ("\u2029 本文。\u2029^ 注釈。", None, "本文。"),
    ("前\ud800後", None, "前後"),
    # Numbered references, but not other brackets.
    ("京都[1][２３]は[注1]古い。", None, "京都は[注1]古い。"),
    # `[要` takes one character at least, so that a bare `[要]` reaches for the next `]`.
    ("これは[要出典]事実[要検証 – ノート]だ。", None, "これは事実だ。"),
    ("あ[要]い]う", None, "あう"),
    ("あ[要]い", None, "あ[要]い"),
    # Templates: no braces inside, two or more at either end.
    ("甲{{Lang|en|x}}乙{{{1}}}丙{一つ}丁", None, "甲乙丙{一つ}丁"),
    ("{{外{{内}}外}}", None, "{{外外}}"),
    # The breadcrumb, up to the first mark with the title, normalised as the text is.
    ("山陰合同銀行 > 根雨支店 根雨支店は、銀行である。", "根雨支店", "根雨支店は、銀行である。"),
    ("親 > ＡＢ\u200b AB社は会社である。", "ＡＢ", "AB社は会社である。"),
    ("親 > 別の記事 本文。", "題", "親 > 別の記事 本文。"),
    (" > 題 本文。", "題", "> 題 本文。"),
    ("親 > 題[1] 本文。", "題", "本文。"),
    ("親 > 本文。", "", "親 > 本文。"),
    ("親 > 本文。", "\u200b", "親 > 本文。"),
    # Footnotes: the first mark and everything behind it.
    ("本文。 ^ 注釈。 ^ 注釈二。", None, "本文。"),
    ("2^3は8。 ^ ", None, "2^3は8。 ^"),
    # Marks that came up by then, and questions in brackets, from the first opening on.
    ("a[リンク切れ]b[いつ?]c[{{x}}要出典]d", None, "abcd"),
    ("あ[括弧]い[誰?]う", None, "あう"),
    ("あ[?]い", None, "あ[?]い"),
    ("あ[い?]う?]え", None, "あう?]え"),
    ("あ[い?", None, "あ[い?"),
    # Ends and openings at the very edge of a text.
    ("[", None, "["),
    ("[1", None, "[1"),
    ("[要", None, "[要"),
    ("{{", None, "{{"),
    ("?", None, "?"),
    ("?]", None, "?]"),
    (" ^ ", None, "^"),
    ("親 > 題", "題", ""),
    # A title that repeats itself, found behind a part of itself.
    ("親 > > > 題。", "> > 題", "。"),
    ("　　前　後 \u00a0 中  ", None, "前 後 中"),
    ("", "題", ""),
]


@pytest.mark.parametrize(("text", "title", "cleaned"), CASES)
def test_each_rule(text: str, title: str | None, cleaned: str) -> None:
    assert clean(text, title) == cleaned


def plainly(text: str, title: str | None) -> str:
    """The rules as one expression each, without any care for time."""

    def printable(raw: str) -> str:
        space = {"\u2029": "\n", **dict.fromkeys("\t\n\v\f\r\x1c\x1d\x1e\x1f\x85\u1680\u2028", " ")}
        form = unicodedata.normalize("NFKC", raw)
        return "".join(space.get(character, character * character.isprintable()) for character in form)

    text = printable(text)
    for expression in (r"\[\d+?\]", r"(?s)\[要.+?\]", r"\{\{+[^{}]+?\}\}+"):
        text = re.sub(expression, "", text)
    if title is not None and printable(title):
        text = re.sub("(?s)^.+? > " + re.escape(printable(title)), "", text)
    for expression in (r"(?s)\s\^\s.+", r"(?s)\[(要出典|リンク切れ|.+?\?)\]"):
        text = re.sub(expression, "", text)
    return re.sub(r" ?\n\s*", "\n", re.sub(r"[ ]+", " ", text)).strip()


# Pieces that meet each other's rules, far more often than random characters would.
MARKUP = ["[", "]", "[1]", "[要", "要出典]", "[リンク切れ]", "?", "?]", "{", "{{", "}", "}}", ">", "^", " > ", " ^ "]
BESIDE = [
    "題",
    "あ",
    "か",
    "ｶﾞ",
    "１",
    "9",
    "。",
    " ",
    "　",
    "\n",
    "\u2029",
    "é",
    "e\u0301",
    "\u3099",
    "각",
    "\u1100\u1161",
    "\u200b",
]
PIECES = st.lists(st.sampled_from(MARKUP + BESIDE), max_size=40).map("".join)


# A busy machine is no failure.
@given(PIECES, st.sampled_from([None, "題", "ｶﾞ", "", "か\u3099"]))
def test_the_published_rules_in_any_order(text: str, title: str | None) -> None:
    assert clean(text, title) == plainly(text, title)


@given(st.text(st.characters(exclude_categories=())), st.one_of(st.none(), st.text(st.characters(), max_size=3)))
@example("か\u3099" * 3, "か\u3099")
@example("親 > ﷺ 本文。", "ﷺ")
@example("\ufdfa" * 5000, "\ufdfa" * 5000)
@example("\U0010ffff\0[\u0663]\U000e0001", "")
def test_any_text(text: str, title: str | None) -> None:
    assert clean(text, title) == plainly(text, title)


def test_every_character_and_a_million_in_a_line() -> None:
    characters = [chr(code) for code in range(sys.maxunicode + 1)]
    alone = "".join(character for character in characters if not joins(character))
    assert len(alone) > 1_000_000
    assert clean(alone) == plainly(alone, None)
    random.Random(1).shuffle(characters)
    everything = "".join(characters)
    assert clean(everything, everything[:9]) == plainly(everything, everything[:9])


def test_the_tokenizer_normalises_as_the_corpus_is_cleaned() -> None:
    points = (chr(point) for point in range(0x110000) if not 0xD800 <= point <= 0xDFFF)
    characters = [c for c in points if c != "\u2029" and not set(normalise(c)) & set("[]{}>^")]
    for start in range(0, len(characters), 1000):
        text = "".join(f"日{character}本" for character in characters[start : start + 1000])
        assert clean(text) == " ".join(normalise(text).split())


@given(st.one_of(st.text(), PIECES))
@example("か\u3099" * 3)
@example("q\u0307\u0323" + "\u0315\u0300\u0344\u0f73" * 400)
@example("a" + "\u0315" * 600 + "\u0323" * 600 + "か")
def test_nfkc_is_the_standard_librarys(text: str) -> None:
    assert nfkc(text) == unicodedata.normalize("NFKC", text)


def test_characters_that_do_not_join_never_act_on_the_one_before() -> None:
    """The one fact that normalising character by character rests on, for every character this Python knows."""
    characters = list(map(chr, range(sys.maxunicode + 1)))
    decomposed = (unicodedata.normalize("NFD", character) for character in characters)
    seconds = {form[-1] for form in decomposed if len(form) > 1}
    for character in characters:
        if not joins(character):
            first = unicodedata.normalize("NFKD", character)[0]
            assert unicodedata.combining(first) == 0
            assert first not in seconds


def test_the_space_is_the_only_white_space_that_can_be_printed() -> None:
    every = map(chr, range(sys.maxunicode + 1))
    assert [character for character in every if character.isspace() and character.isprintable()] == [" "]


@pytest.mark.parametrize(
    "piece",
    [
        "[",
        "[要",
        "{",
        "{{a",
        "{{a}",
        " > ",
        " > 題",
        " ^ ",
        "[a?",
        "[?",
        "[1",
        "[１",
        "[要出",
        "?",
        "^",
        "[要]",
        "。 ",
        "\u0315\u0300",
        "\u0f73",
        "\ue000",
        "\ufdfa",
        "か\u3099",
    ],
)
def test_hostile_text_takes_linear_time(piece: str) -> None:
    """Half a million pieces would take hours in quadratic time; here well under a second."""
    start = time.process_time()
    clean(piece * 500_000, "題")
    clean("親" + piece * 100_000, " > " + piece * 50_000 + "題")
    assert time.process_time() - start < 15
