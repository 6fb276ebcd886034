"""Words → entries: the order of a vocabulary, the alphabet's cut, words that inference cannot produce."""

from collections import Counter

import pytest

from stages.command.refusal import Refusal
from stages.vocab.training import choose_alphabet, train
from stages.words.japanese_subwords import SPECIAL_TOKENS

WORDS = Counter({"京都": 5, "京都府": 4, "東京": 3, "東京都": 3, "都": 2, "府": 1})


def test_the_alphabet_is_cut_by_frequency_then_code_point() -> None:
    # 都 14, 京 15, 府 5, 東 6; of equals the smaller code point stays.
    assert choose_alphabet(WORDS, 10) == sorted("京都府東")
    assert choose_alphabet(WORDS, 3) == sorted("京都東")
    assert choose_alphabet(Counter({"ウイア": 1}), 2) == ["ア", "イ"]


def test_the_order_of_the_entries() -> None:
    vocabularies = train(WORDS, vocabulary_size=20, alphabet_size=10, unused=2)
    assert vocabularies.wordpiece[:7] == [*SPECIAL_TOKENS, "<unused0>", "<unused1>"]
    assert vocabularies.wordpiece[7:11] == sorted("京都府東")
    assert vocabularies.wordpiece[11:14] == ["##京", "##府", "##都"]
    assert set(vocabularies.wordpiece[14:]) == {"京都", "京都府", "東京", "東京都"}
    assert vocabularies.character == vocabularies.wordpiece[:11]


def test_words_outside_the_alphabet_are_not_trained_on() -> None:
    words = Counter({"甲乙": 9, "甲丙乙": 9, "甲": 9, "乙": 9})
    vocabularies = train(words, vocabulary_size=30, alphabet_size=2, unused=0)
    # The library would drop 丙 and count 甲丙乙 for the pair 甲乙 as well.
    assert vocabularies.character[5:] == ["乙", "甲"]
    assert "甲乙" in vocabularies.wordpiece
    assert all("丙" not in entry for entry in vocabularies.wordpiece)
    only_gap = train(Counter({"甲丙乙": 9, "甲": 50, "乙": 50}), vocabulary_size=30, alphabet_size=2, unused=0)
    assert only_gap.wordpiece[5:] == ["乙", "甲"]


def test_a_size_without_room_for_the_alphabet() -> None:
    with pytest.raises(Refusal, match="are already 13, more than 12"):
        train(WORDS, vocabulary_size=12, alphabet_size=10, unused=1)
