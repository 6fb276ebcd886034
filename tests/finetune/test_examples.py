"""JGLUE's files → examples, and every way in which a line can be wrong."""

import json
from pathlib import Path
from typing import Any

import pytest

from stages.finetune.examples import Example, Question, read_examples, read_questions
from stages.finetune.tasks import TASKS
from stages.handover import Refusal
from tests.finetune.samples import JCOMMONSENSEQA, JNLI, JSTS, LINES, MARC_JA, jsquad, write_lines


def test_each_shape_is_read(tmp_path: Path) -> None:
    read = {}
    for task, lines in LINES.items():
        write_lines(tmp_path / task, lines)
        read[task] = read_examples(str(tmp_path / task), TASKS[task])
        assert len(read[task]) == len(lines)
    assert read["jnli"][1] == Example(("子どもが海で泳いでいます。", "海に人はいません。"), 1)
    assert read["jsts"][0] == Example(("犬が公園を走っています。", "公園で犬が走っている。"), 4.6)
    assert read["jcommonsenseqa"][2] == Example(("夜の空に光るものは？", "机", "魚", "星", "道", "米"), 2)
    assert read["marc-ja"][1] == Example(("三日で壊れました。お金を返してほしい。",), 1)


def test_empty_lines_and_digits_in_quotes_are_taken(tmp_path: Path) -> None:
    path = tmp_path / "train.json"
    path.write_text("\n" + json.dumps({**JSTS[0], "label": "4.4"}) + "\n\n", encoding="utf-8")
    assert [example.label for example in read_examples(str(path), TASKS["jsts"])] == [4.4]


def test_questions_are_read_with_their_places(tmp_path: Path) -> None:
    path = tmp_path / "train.json"
    path.write_text(json.dumps(jsquad()), encoding="utf-8")
    found = read_questions(str(path))
    assert len(found.contexts) == 2
    assert found.questions[0] == Question("みどり湖の周囲は？", 0, ("約１２㌔", "１２㌔"), 26)
    assert found.contexts[0][26:].startswith("約１２㌔")
    assert found.questions[4].context == 1


def test_an_answer_elsewhere_has_no_place(tmp_path: Path) -> None:
    document = jsquad()
    answers = document["data"][0]["paragraphs"][0]["qas"]
    answers[0]["answers"][0]["answer_start"] += 1
    answers[1]["answers"][0]["answer_start"] = -1
    (tmp_path / "train.json").write_text(json.dumps(document))
    found = read_questions(str(tmp_path / "train.json")).questions
    assert [question.start is None for question in found] == [True, True, False, False, False, False]
    assert found[0].answers == ("約１２㌔", "１２㌔")


@pytest.mark.parametrize(
    ("task", "line", "words"),
    [
        ("jnli", b"{", "not JSON (Expecting property name"),
        ("jnli", b"\xff", "byte 1: not UTF-8"),
        ("jnli", b"[]", "not a JSON object; JNLI has one a line, with sentence1, sentence2, label"),
        ("jnli", {"sentence1": "あ", "label": "neutral"}, "no field sentence2; an example of JNLI has sentence1, sent"),
        ("jnli", {**JNLI[0], "sentence2": 3}, "sentence2 must be a text, and is 3"),
        ("jnli", {**JNLI[0], "sentence2": ""}, 'sentence2 must be a text, and is ""'),
        ("jnli", {**JNLI[0], "sentence1": "あ\ud800"}, "sentence1 has half of a surrogate pair at character 2"),
        ("jnli", {**JNLI[0], "label": 1}, "label is 1; it must be one of entailment, contradiction, neutral"),
        ("jsts", {**JSTS[0], "label": 5.2}, "label is 5.2; it must be a number from 0 to 5"),
        ("jsts", {**JSTS[0], "label": True}, "label is true; it must be a number from 0 to 5"),
        ("jsts", {**JSTS[0], "label": None}, "label is missing; it must be a number from 0 to 5"),
        (
            "jsts",
            b'{"sentence1": "a", "sentence2": "b", "label": NaN}',
            "label is NaN; it must be a number from 0 to 5",
        ),
        ("jcommonsenseqa", {**JCOMMONSENSEQA[0], "label": 5}, "label is 5; it must be a whole number from 0 to 4"),
        ("jcommonsenseqa", {**JCOMMONSENSEQA[0], "label": "0"}, 'label is "0"; it must be a whole number from 0 to 4'),
        ("marc-ja", {**MARC_JA[0], "label": "good"}, 'label is "good"; it must be one of positive, negative'),
    ],
)
def test_a_bad_line_is_named(tmp_path: Path, task: str, line: Any, words: str) -> None:
    path = tmp_path / "valid.json"
    good = json.dumps(LINES[task][0]).encode()
    path.write_bytes(good + b"\n" + (line if isinstance(line, bytes) else json.dumps(line).encode()) + b"\n")
    with pytest.raises(Refusal) as refusal:
        read_examples(str(path), TASKS[task])
    assert str(refusal.value).startswith(f"{path}, line 2")
    assert words in str(refusal.value)


def test_a_file_without_examples_is_refused(tmp_path: Path) -> None:
    (tmp_path / "train.json").write_text("\n")
    with pytest.raises(Refusal, match=r"train.json holds no examples of JSTS"):
        read_examples(str(tmp_path / "train.json"), TASKS["jsts"])


@pytest.mark.parametrize(
    ("document", "words"),
    [
        ([], "must be one JSON object with a list `data`"),
        ({}, "data: must be a list of objects, and is missing"),
        ({"data": []}, "holds no questions of JSQuAD"),
        ({"data": [3]}, "data[0]: must be an object, and is 3"),
        ({"data": [{}]}, "data[0].paragraphs: must be a list of objects, and is missing"),
        ({"data": [{"paragraphs": [{"qas": []}]}]}, "data[0].paragraphs[0]: context must be a text, and is missing"),
        (
            {"data": [{"paragraphs": [{"context": "題 [SEP] 文", "qas": [{"question": "何か", "answers": []}]}]}]},
            "data[0].paragraphs[0].qas[0]: no answers; every question of JSQuAD has one or more",
        ),
        (
            {"data": [{"paragraphs": [{"context": "文", "qas": [{"question": "何か", "answers": [{"text": "文"}]}]}]}]},
            "data[0].paragraphs[0].qas[0].answers[0]: answer_start is missing; it must be the character",
        ),
    ],
)
def test_a_bad_document_is_named_with_the_place(tmp_path: Path, document: Any, words: str) -> None:
    path = tmp_path / "train.json"
    path.write_text(json.dumps(document))
    with pytest.raises(Refusal) as refusal:
        read_questions(str(path))
    assert str(path) in str(refusal.value)
    assert words in str(refusal.value)
