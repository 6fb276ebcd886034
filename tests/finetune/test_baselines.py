"""Baselines that need no model, on data small enough to count by hand."""

import numpy as np
import pytest

from stages.finetune.entities import Entity, EntityData, Sentence, dictionary, longest_matches
from stages.finetune.questions import QuestionData
from stages.finetune.tasks import TASKS
from stages.finetune.texts import Example, TextData, best_rule, overlaps


def test_overlap_is_the_share_of_characters_in_common() -> None:
    assert overlaps([Example(("犬が走る", "犬が歩く", "犬", "海"), 0)]).tolist() == [[4 / 8, 2 / 5, 0]]


@pytest.mark.parametrize(
    ("overlap", "labels", "right"),
    [
        ([0.1, 0.2, 0.8, 0.9], [1, 1, 0, 0], 4),
        ([0.1, 0.5, 0.9], [2, 0, 1], 3),
        ([0.1, 0.5, 0.9], [0, 1, 0], 2),  # One interval a label.
        ([0.0, 1.0, 1.0], [2, 1, 1], 3),
        ([0.5, 0.5, 0.5], [1, 2, 1], 2),
    ],
)
def test_the_rule_is_the_best_of_all_thresholds(overlap: list[float], labels: list[int], right: int) -> None:
    rule = best_rule(np.array(overlap), np.array(labels), 3)
    assert rule.shape == (101,)
    assert sum(rule[int(value * 100)] == label for value, label in zip(overlap, labels, strict=True)) == right


def test_classification_has_chance_majority_and_overlap() -> None:
    train = [Example(("あい", "あい"), 0), Example(("あい", "うえ"), 2), Example(("あう", "いえ"), 2)]
    dev = [Example(("か", "か"), 0), Example(("か", "き"), 1), Example(("か", "く"), 2), Example(("け", "け"), 0)]
    expected = {"chance": pytest.approx(1 / 3), "majority": 0.25, "overlap": 0.75}
    for task in ("jsick", "jnli"):
        assert TextData(TASKS[task], train, dev).baselines() == expected


def test_one_text_has_no_overlap() -> None:
    train = [Example(("良い",), 0), Example(("悪い",), 1), Example(("悪い",), 1)]
    assert TextData(TASKS["marc-ja"], train, train[:2]).baselines() == {"chance": 0.5, "majority": 0.5}


def test_the_choice_with_the_largest_overlap_is_taken() -> None:
    examples = [Example(("夜の星は？", "雨", "石", "星", "道", "米"), 2), Example(("夜は？", *"雨石星道米"), 3)]
    figures = TextData(TASKS["jcommonsenseqa"], examples, examples).baselines()
    assert figures == {"chance": 0.2, "majority": 0.5, "overlap": 0.5}


def test_questions_have_no_baseline() -> None:
    assert QuestionData(TASKS["jsquad"], [], []).baselines() == {}


def test_the_dictionary_takes_the_longest_name_with_its_most_frequent_type() -> None:
    train = [
        Sentence("北山駅", (Entity(0, 3, "施設名"),), ""),
        Sentence("北山の林", (Entity(0, 2, "地名"), Entity(3, 4, "地名")), ""),
        Sentence("林と林", (Entity(0, 1, "人名"), Entity(2, 3, "人名")), ""),
    ]
    entries = dictionary(train)
    assert entries == {"北山駅": "施設名", "北山": "地名", "林": "人名"}
    assert longest_matches("北山北山駅は林", entries) == [
        Entity(0, 2, "地名"), Entity(2, 5, "施設名"), Entity(6, 7, "人名"),
    ]  # fmt: skip
    assert longest_matches("林", {}) == []
    # Of three entities of train, two are found with their type in the last two sentences, and one with another type.
    assert EntityData(TASKS["ner"], train, train[1:2]).baselines() == {"dictionary": 0.5}
