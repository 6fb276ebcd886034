"""JGLUE's figures, against values worked out by hand."""

import numpy as np
import pytest

from stages.finetune.metrics import accuracy, answer_scores, character_f1, exact_match, normalised


def test_accuracy_is_a_share() -> None:
    assert accuracy(np.array([0, 2, 1, 1]), np.array([0, 2, 2, 1])) == {"accuracy": 0.75}


def test_answers_are_compared_without_case_full_stop_and_more_than_one_space() -> None:
    assert normalised(" 285  KM/h。") == "285 km/h"
    assert exact_match("Abc。", "abc") == 1
    assert exact_match("１２㌔", "12キロ") == 0  # JGLUE does not normalise characters.


@pytest.mark.parametrize(
    ("said", "answer", "f1"),
    [
        ("東京都", "東京都", 1),
        ("東京", "東京都", 4 / 5),  # Two characters in common of two and three.
        ("京都", "東京", 2 / 4),
        ("ああい", "あいい", 4 / 6),  # A bag: あ once, い once.
        ("海", "山", 0),
        ("", "山", 0),
        ("。", "。", 1),
    ],
)
def test_f1_counts_characters(said: str, answer: str, f1: float) -> None:
    assert character_f1(said, answer) == pytest.approx(f1)
    assert character_f1(answer, said) == pytest.approx(f1)


def test_the_nearest_of_several_answers_counts() -> None:
    scores = answer_scores(["東京", "海"], [["東京都", "東京"], ["山", "海山"]])
    assert scores == {"exact_match": 0.5, "f1": pytest.approx((1 + 2 / 3) / 2)}
