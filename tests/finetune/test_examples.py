"""The tasks' files → examples, and the refusals of invalid lines."""

import json
from pathlib import Path
from typing import Any

import pytest

from stages.command.refusal import Refusal
from stages.finetune.entities import Entity, Sentence, read_sentences
from stages.finetune.questions import Question, read_questions
from stages.finetune.tasks import TASKS
from stages.finetune.texts import Example, read_examples
from tests.finetune.samples import (
    JCOMMONSENSEQA,
    JNLI,
    JSICK,
    JSTS,
    LINES,
    MARC_JA,
    NER,
    jsquad,
    sentence,
    write_lines,
    write_table,
)


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
    questions = read_questions(str(path), TASKS["jsquad"])
    first, second = dict.fromkeys(question.context for question in questions)
    assert questions[0] == Question("みどり湖の周囲は？", first, ("約１２㌔", "１２㌔"), 26)
    assert first[26:].startswith("約１２㌔")
    assert questions[4].context == second


def test_an_answer_elsewhere_has_no_place(tmp_path: Path) -> None:
    document = jsquad()
    answers = document["data"][0]["paragraphs"][0]["qas"]
    answers[0]["answers"][0]["answer_start"] += 1
    answers[1]["answers"][0]["answer_start"] = -1
    (tmp_path / "train.json").write_text(json.dumps(document))
    questions = read_questions(str(tmp_path / "train.json"), TASKS["jsquad"])
    assert [question.start is None for question in questions] == [True, True, False, False, False, False]
    assert questions[0].answers == ("約１２㌔", "１２㌔")


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
        read_questions(str(path), TASKS["jsquad"])
    assert str(path) in str(refusal.value)
    assert words in str(refusal.value)


def test_a_table_is_read_with_its_column_data(tmp_path: Path) -> None:
    write_table(tmp_path / "jsick.tsv", [{**JSICK[0], "data": "trial"}, *JSICK[1:]])
    examples = read_examples(str(tmp_path / "jsick.tsv"), TASKS["jsick"])
    assert examples[0] == Example(("犬が公園を走っています。", "公園で犬が走っている。"), 0, "trial")
    assert [example.part for example in examples[1:]] == [""] * 7
    data = (tmp_path / "jsick.tsv").read_bytes()
    (tmp_path / "windows.tsv").write_bytes(data.replace(b"\n", b"\r\n"))
    assert read_examples(str(tmp_path / "windows.tsv"), TASKS["jsick"]) == examples


HEADINGS = "sentence_A_Ja\tsentence_B_Ja\tentailment_label_Ja\n"


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ("", "line 1: no column sentence_A_Ja; JSICK is a table with headings, separated by tabs, with the"),
        (HEADINGS.replace("_label", ""), "line 1: no column entailment_label_Ja"),
        (HEADINGS, "holds no examples of JSICK"),
        (HEADINGS + "犬\t猫\n", "line 2: 2 cells; line 1 has 3 headings"),
        (HEADINGS + "\n犬\t\tneutral\n", 'line 3: sentence_B_Ja must be a text, and is ""'),
        (HEADINGS + "犬\t猫\tmaybe\n", 'line 2: label is "maybe"; it must be one of entailment, contra'),
    ],
)
def test_a_bad_table_is_named(tmp_path: Path, table: str, words: str) -> None:
    path = tmp_path / "train.tsv"
    path.write_text(table, encoding="utf-8")
    with pytest.raises(Refusal) as refusal:
        read_examples(str(path), TASKS["jsick"])
    assert str(refusal.value).startswith(str(path))
    assert words in str(refusal.value)


def test_a_table_that_is_not_utf_8_is_named(tmp_path: Path) -> None:
    (tmp_path / "train.tsv").write_bytes(b"ab\xff")
    with pytest.raises(Refusal, match=r"train.tsv, byte 3: not UTF-8"):
        read_examples(str(tmp_path / "train.tsv"), TASKS["jsick"])


def test_sentences_are_read_with_their_entities_in_order(tmp_path: Path) -> None:
    path = tmp_path / "ner.json"
    shuffled = {**NER[0], "entities": NER[0]["entities"][::-1]}
    without_page = {name: value for name, value in NER[2].items() if name != "curid"}
    path.write_text(json.dumps([shuffled, without_page]), encoding="utf-8")
    assert read_sentences(str(path), TASKS["ner"]) == [
        Sentence("田中は青空食堂で働いている。", (Entity(0, 2, "人名"), Entity(3, 7, "施設名")), "1"),
        Sentence("空は青い。", (), "空は青い。"),
    ]


@pytest.mark.parametrize(
    ("document", "words"),
    [
        ({}, "must be one JSON array of objects with text and entities"),
        ([], "holds no sentences of NER"),
        ([NER[0], 3], "[1]: must be an object, and is 3"),
        ([{"entities": []}], "[0]: text must be a text, and is missing"),
        ([{"text": "林"}], "[0].entities: must be a list of objects, and is missing"),
        ([{"text": "林", "entities": [{"name": "林", "type": "人名"}]}], "[0].entities[0]: span is missing; it"),
        ([{"text": "林", "entities": [{"name": "林", "type": "", "span": [0, 1]}]}], "type must be a text"),
        ([{"text": "林", "entities": [{"name": "林", "type": "人名", "span": [0, True]}]}], "span is [0, true]; it"),
        (
            [{"text": "田中林", "entities": [{"name": "林", "type": "人名", "span": [1, 2]}]}],
            '[0].entities[0]: span [1, 2] of the text is "中", not "林"',
        ),
        (
            [{"text": "田中林", "entities": [{"name": "林", "type": "人名", "span": [-1, 3]}]}],
            '[0].entities[0]: span [-1, 3] of the text is "田中林", not "林"',
        ),
        (
            [sentence(1, "田中林", 人名="田中林", 地名="中")],
            "[0].entities[1]: span [1, 2] overlaps [0, 3]; a character can be in one entity only",
        ),
    ],
)
def test_a_bad_sentence_is_named_with_the_place(tmp_path: Path, document: Any, words: str) -> None:
    path = tmp_path / "ner.json"
    path.write_text(json.dumps(document), encoding="utf-8")
    with pytest.raises(Refusal) as refusal:
        read_sentences(str(path), TASKS["ner"])
    assert str(refusal.value).startswith(str(path))
    assert words in str(refusal.value)
