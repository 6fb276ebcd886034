"""Cleaning: each rule with its Japanese example, and all rules against plain expressions of them."""

import re
import time
import unicodedata

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from stages.corpus.cleaning import clean, nfkc, normalise

CASES = [
    # NFKC, and what cannot be printed goes: line ends, zero-width spaces, controls, lone surrogates.
    ("ＡＢＣ（１２）ｶﾞｷﾞ㍿①", None, "ABC(12)ガギ株式会社1"),
    ("か\u3099き", None, "がき"),
    ("一行目\n二行目\tです\u200b。\ue000", None, "一行目二行目です。"),
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
    ("　　前　後 \u00a0 中  ", None, "前 後 中"),
    ("", "題", ""),
]


@pytest.mark.parametrize(("text", "title", "cleaned"), CASES)
def test_each_rule(text: str, title: str | None, cleaned: str) -> None:
    assert clean(text, title) == cleaned


def plainly(text: str, title: str | None) -> str:
    """The rules as one expression each, without any care for time."""

    def printable(raw: str) -> str:
        return "".join(character for character in unicodedata.normalize("NFKC", raw) if character.isprintable())

    text = printable(text)
    for expression in (r"\[\d+?\]", r"\[要.+?\]", r"\{\{+[^{}]+?\}\}+"):
        text = re.sub(expression, "", text)
    if title is not None and printable(title):
        text = re.sub("^.+? > " + re.escape(printable(title)), "", text)
    for expression in (r" \^ .+", r"\[(要出典|リンク切れ|.+?\?)\]"):
        text = re.sub(expression, "", text)
    return re.sub(r"\s+", " ", text).strip()


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
    "é",
    "e\u0301",
    "\u3099",
    "각",
    "\u1100\u1161",
    "\u200b",
]
PIECES = st.lists(st.sampled_from(MARKUP + BESIDE), max_size=40).map("".join)


# A busy machine is no failure.
@settings(deadline=None)
@given(PIECES, st.sampled_from([None, "題", "ｶﾞ", "", "か\u3099"]))
def test_the_published_rules_in_any_order(text: str, title: str | None) -> None:
    assert clean(text, title) == plainly(text, title)


@settings(deadline=None)
@given(st.one_of(st.text(), PIECES))
@example("か\u3099" * 3)
@example("q\u0307\u0323" + "\u0315\u0300\u0344\u0f73" * 400)
@example("a" + "\u0315" * 600 + "\u0323" * 600 + "か")
def test_nfkc_is_the_standard_librarys(text: str) -> None:
    assert nfkc(text) == unicodedata.normalize("NFKC", text)


def test_stable_characters_never_change_and_never_join() -> None:
    """The one fact that the fast NFKC rests on, for every character of the class."""
    decomposed = (unicodedata.normalize("NFD", character) for character in map(chr, range(0x110000)))
    joining = {form[-1] for form in decomposed if len(form) > 1}
    for character in re.findall("[\n -~、-〠ぁ-ゖァ-ー一-鿿]", "".join(map(chr, range(0xD800)))):
        assert unicodedata.is_normalized("NFKC", character)
        assert unicodedata.combining(character) == 0
        assert character not in joining


@settings(deadline=None)
@given(st.text(st.characters()))
def test_nothing_unprintable_is_left(text: str) -> None:
    assert normalise(text).isprintable()


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
        "[要]",
        "。 ",
        "\u0315\u0300",
        "\u0f73",
        "\ue000",
    ],
)
def test_hostile_text_takes_linear_time(piece: str) -> None:
    """Half a million pieces would take hours in quadratic time; here well under a second."""
    start = time.process_time()
    clean(piece * 500_000, "題")
    assert time.process_time() - start < 15
