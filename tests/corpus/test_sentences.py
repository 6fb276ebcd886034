"""Sentences: where they end, which are kept."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.corpus.sentences import reason_to_drop, split


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("今日は晴れ。明日は雨?本当!?そう。", ["今日は晴れ。", "明日は雨?", "本当!?", "そう。"]),
        ("終わりに句点なし", ["終わりに句点なし"]),
        ("一。 二。 三", ["一。", "二。", "三"]),
        ("一。 。二", ["一。", "。", "二"]),
        ("。。?!あ", ["。。?!", "あ"]),
        (" ", []),
        ("", []),
    ],
)
def test_split(text: str, expected: list[str]) -> None:
    assert split(text) == expected


# A busy machine is no failure.
@settings(deadline=None)
@given(st.text("あい。?! 、.", max_size=60))
def test_splitting_keeps_all_but_white_space_and_ends_only_behind_a_mark(text: str) -> None:
    sentences = split(text)
    assert "".join("".join(sentences).split()) == "".join(text.split())
    for sentence in sentences[:-1]:
        assert sentence[-1] in "。?!"
    for sentence in sentences:
        body = sentence.rstrip("。?!")
        assert not set(body) & set("。?!")


@pytest.mark.parametrize(
    ("sentence", "reason"),
    [
        ("あ" * 9, "too_short"),
        ("あ" * 10, None),
        ("あ" * 250, None),
        ("あ" * 251, "too_long"),
        ("式 {\\displaystyle x^2} は二次である。", "equation"),
        ("\\displaystyle" + "あ" * 250, "too_long"),
        ("𠮷" * 10, None),
    ],
)
def test_reasons_in_their_order(sentence: str, reason: str | None) -> None:
    assert reason_to_drop(sentence, 10, 250) == reason
