"""The tasks' metrics, against values computed by hand."""

import numpy as np
import pytest

from stages.finetune.entities import Entity, scores_by_type
from stages.finetune.metrics import (
    accuracy,
    answer_scores,
    character_f1,
    correlation_interval,
    correlations,
    entity_scores,
    exact_match,
    normalize,
    ranks,
    ratio_interval,
)


def test_accuracy_is_a_share() -> None:
    assert accuracy(np.array([0, 2, 1, 1]), np.array([0, 2, 2, 1])) == {"accuracy": 0.75}


def test_equal_values_share_their_rank() -> None:
    assert ranks(np.array([3, 1, 3, 2])).tolist() == [3.5, 1, 3.5, 2]
    # The values of scipy 1.17.
    result = correlations(np.array([1, 2, 2, 4]), np.array([1, 3, 2, 2]))
    assert result == pytest.approx({"pearson": 0.3244428422615251, "spearman": 0.5})
    assert correlations(np.array([1.0, np.nan]), np.array([1, 2])) == {"pearson": None, "spearman": None}


def test_answers_are_compared_without_case_full_stop_and_more_than_one_space() -> None:
    assert normalize(" 285  KM/h。") == "285 km/h"
    assert exact_match("Abc。", "abc") == 1
    assert exact_match("１２㌔", "12キロ") == 0  # JGLUE does not normalise characters.


@pytest.mark.parametrize(
    ("prediction", "reference", "f1"),
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
def test_f1_counts_characters(prediction: str, reference: str, f1: float) -> None:
    assert character_f1(prediction, reference) == pytest.approx(f1)
    assert character_f1(reference, prediction) == pytest.approx(f1)


def test_the_nearest_of_several_answers_counts() -> None:
    scores = answer_scores(["東京", "海"], [["東京都", "東京"], ["山", "海山"]])
    assert scores == {"exact_match": 0.5, "f1": pytest.approx((1 + 2 / 3) / 2)}


A, B, C = Entity(0, 2, "人名"), Entity(3, 5, "地名"), Entity(3, 5, "人名")


@pytest.mark.parametrize(
    ("predictions", "truth", "figures"),
    [
        ([[A, B]], [[A, B]], (1, 1, 1)),
        ([[A, C], []], [[A, B], [B]], (2 / 5, 1 / 2, 1 / 3)),  # The type is part of an entity.
        ([[A]], [[A._replace(stop=3)]], (0, 0, 0)),
        ([[A, A]], [[A]], (1, 1, 1)),
        ([[A], []], [[], [A]], (0, 0, 0)),  # Of another sentence.
        ([[]], [[A]], (0, None, 0)),
        ([[A]], [[]], (0, 0, None)),
        ([[]], [[]], (None, None, None)),
    ],
)
def test_entities_are_counted_over_all_sentences(
    predictions: list[list[Entity]], truth: list[list[Entity]], figures: tuple[float | None, ...]
) -> None:
    assert tuple(entity_scores(predictions, truth).values()) == pytest.approx(figures)


def test_entities_are_counted_by_type() -> None:
    assert scores_by_type([[A, C]], [[A, B]]) == {
        "人名": {"entities": 1, "f1": pytest.approx(2 / 3), "precision": 0.5, "recall": 1},
        "地名": {"entities": 1, "f1": 0, "precision": None, "recall": 0},
    }


def test_the_interval_of_a_correlation_is_fishers() -> None:
    """0.5 of 28 pairs: z = 0.5493 ± 1.96 / 5."""
    assert correlation_interval(0.5, 28) == pytest.approx([0.1560, 0.7358], abs=1e-4)
    assert correlation_interval(None, 9) is correlation_interval(1.0, 9) is correlation_interval(0.5, 3) is None


def test_the_interval_of_a_ratio_is_of_examples_drawn_anew() -> None:
    """Of 400 examples 100 are right: 0.25 ± 1.96 · √(0.25 · 0.75 / 400) = 0.25 ± 0.042, the same at each call."""
    right = [1.0] * 100 + [0.0] * 300
    interval = ratio_interval(right, [1.0] * 400)
    assert interval == pytest.approx([0.208, 0.292], abs=0.006)
    assert interval == ratio_interval(right, [1.0] * 400)
    assert ratio_interval([0, 0], [0, 0]) is None
    assert ratio_interval([2, 0], [2, 0]) == [1, 1]
