"""Sentences: where they end, which are kept, and what is counted."""

import ctypes
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.corpus.articles import REASONS, Counts, keep


def kept(text: str, shortest: int = 1, longest: int = 250) -> tuple[list[str], dict[str, int]]:
    """The lines kept of a clean text, and the counts that are not zero."""
    counts = Counts()
    raw = text.encode("utf-32-le")
    points = ctypes.create_string_buffer(raw, len(raw) + 4)
    lines = keep(ctypes.addressof(points), len(text), shortest, longest, counts).decode()
    numbers = {name: getattr(counts, name) for name in ("read", "kept", "characters", *REASONS)}
    return lines.splitlines(), {name: number for name, number in numbers.items() if number}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("今日は晴れ。明日は雨?本当!?そう。", ["今日は晴れ。", "明日は雨?", "本当!?", "そう。"]),
        ("終わりに句点なし", ["終わりに句点なし"]),
        ("一。 二。 三", ["一。", "二。", "三"]),
        ("一。 。二", ["一。", "。", "二"]),
        ("。。?!あ", ["。。?!", "あ"]),
        ("終わり\n見出し。\n次!", ["終わり", "見出し。", "次!"]),
        ("一?\n!二", ["一?", "!", "二"]),
        ("aé。𠮷\U0010fffd", ["aé。", "𠮷\U0010fffd"]),
        (" ", []),
        ("", []),
    ],
)
def test_split(text: str, expected: list[str]) -> None:
    lines, counts = kept(text)
    assert lines == expected
    assert counts.get("read", 0) == counts.get("kept", 0) == len(expected)
    assert counts.get("characters", 0) == sum(map(len, expected))


@pytest.mark.parametrize(
    ("sentence", "reason"),
    [
        ("あ" * 9, "too_short"),
        ("あ" * 10, None),
        ("あ" * 250, None),
        ("あ" * 251, "too_long"),
        ("式 {\\displaystyle x^2} は二次である。", "equation"),
        ("\\displaystyl \\\\displaystyle", "equation"),
        ("\\displaystyl e は式でない。", None),
        ("\\displaystyle" + "あ" * 250, "too_long"),
        ("𠮷" * 10, None),
    ],
)
def test_reasons_in_their_order(sentence: str, reason: str | None) -> None:
    lines, counts = kept(sentence, 10, 250)
    assert lines == ([] if reason else [sentence])
    assert counts == ({"read": 1, reason: 1} if reason else {"read": 1, "kept": 1, "characters": len(sentence)})


def plainly(text: str, shortest: int, longest: int) -> tuple[list[str], dict[str, int]]:
    lines = []
    counts = dict.fromkeys(("read", "kept", "characters", *REASONS), 0)
    for piece in re.findall("[^。?!\\n]*[。?!]+|[^。?!\\n]+", text):
        if sentence := piece.strip(" "):
            counts["read"] += 1
            if len(sentence) < shortest:
                counts["too_short"] += 1
            elif len(sentence) > longest:
                counts["too_long"] += 1
            elif "\\displaystyle" in sentence:
                counts["equation"] += 1
            else:
                lines.append(sentence)
    counts["kept"], counts["characters"] = len(lines), sum(map(len, lines))
    return lines, {name: number for name, number in counts.items() if number}


PRINTABLE = st.characters(exclude_categories=("C", "Z"))
PIECES = st.sampled_from(["。", "?", "!", " ", "あ", "𠮷", "é", "a", "\\displaystyle", "\\"])


# A busy machine is no failure.
@given(st.lists(PIECES | PRINTABLE, max_size=60).map("".join), st.integers(1, 5), st.integers(5, 20))
def test_any_text(text: str, shortest: int, longest: int) -> None:
    assert kept(text, shortest, longest) == plainly(text, shortest, longest)
