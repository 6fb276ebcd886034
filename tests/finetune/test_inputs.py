"""Examples → rows: equal to those of transformers' own call, and JSQuAD's windows with their answers."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.finetune.entities import Entity, Sentence, encode_sentences
from stages.finetune.inputs import IGNORED, Input, encode_row
from stages.finetune.questions import encode_questions, read_questions, span_text
from stages.finetune.tasks import TASKS
from stages.finetune.texts import Example, TextData
from stages.words.tokenization import BertJapaneseTinySegmenterTokenizer as Tokenizer
from tests.finetune.samples import PAIRS, characters, jsquad


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    path = tmp_path_factory.mktemp("inputs") / "vocab.txt"
    entries = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *characters()]
    path.write_text("\n".join(entries) + "\n", encoding="utf-8")
    return Tokenizer(path, subword_tokenizer_type="character")


@given(st.integers(0, 30), st.integers(0, 30), st.integers(1, 40))
def test_tokens_leave_the_longer_text_first(tokenizer: Tokenizer, first: int, second: int, limit: int) -> None:
    """One by one, and of two equally long ones the second's: what transformers calls longest_first."""
    a, b = first, second
    while a + b > limit:
        a, b = (a - 1, b) if a > b else (a, b - 1)
    ids, segments = encode_row(tokenizer, [5] * first, [6] * second, limit + len(["[CLS]", "[SEP]", "[SEP]"]))
    assert ids.tolist() == [2, *[5] * a, 3, *[6] * b, 3]
    assert segments.tolist() == [0] * (a + 2) + [1] * (b + 1)


def encode(tokenizer: Tokenizer, examples: list[Example], task: str, max_length: int) -> list[Input]:
    """The inputs of a training set of texts."""
    return TextData(TASKS[task], examples, []).encode(tokenizer, max_length)[0]


@pytest.mark.parametrize("max_length", [16, 24, 64])
def test_rows_are_what_transformers_makes_of_two_texts(tokenizer: Tokenizer, max_length: int) -> None:
    inputs = encode(tokenizer, [Example(pair, 1) for pair in PAIRS], "jnli", max_length)
    for pair, ([row], _) in zip(PAIRS, inputs, strict=True):
        expected = tokenizer(*pair, truncation="longest_first", max_length=max_length)
        assert row.ids.tolist() == expected["input_ids"]
        assert row.segments.tolist() == expected["token_type_ids"]


def test_rows_of_one_text(tokenizer: Tokenizer) -> None:
    text = PAIRS[0][0] * 3
    ([first], label), ([second], other) = encode(tokenizer, [Example((text,), 0), Example(("犬",), 1)], "marc-ja", 20)
    assert first.ids.tolist() == tokenizer(text, truncation=True, max_length=20)["input_ids"]
    assert (len(first.ids), first.segments.sum()) == (20, 0)
    assert tokenizer.convert_ids_to_tokens(second.ids.tolist()) == ["[CLS]", "犬", "[SEP]"]
    assert [label, other] == [0, 1]


def test_a_question_with_five_choices_is_five_rows(tokenizer: Tokenizer) -> None:
    [(rows, _)] = encode(tokenizer, [Example(("夜は？", *"雨石星道米"), 2)], "jcommonsenseqa", 16)
    assert ["".join(tokenizer.convert_ids_to_tokens(row.ids.tolist())) for row in rows] == [
        f"[CLS]夜は?[SEP]{choice}[SEP]" for choice in "雨石星道米"
    ]


@pytest.mark.parametrize("max_length", [24, 40, 64, 200])
def test_windows_lead_to_the_answers_and_back(tokenizer: Tokenizer, tmp_path: Path, max_length: int) -> None:
    path = tmp_path / "train.json"
    path.write_text(json.dumps(jsquad()), encoding="utf-8")
    questions = read_questions(str(path), TASKS["jsquad"])
    inputs, windows, _ = encode_questions(tokenizer, questions, max_length)
    answered = set()
    for ([row], label), (number, offsets, start, position, size) in zip(inputs, windows, strict=True):
        question = questions[number]
        assert len(row.ids) <= max_length
        context = tokenizer(question.context, add_special_tokens=False)["input_ids"]
        question_ids = tokenizer(question.question, add_special_tokens=False)["input_ids"][: max_length // 3]
        assert row.ids.tolist() == [2, *question_ids, 3, *context[start : start + size], 3]
        assert (row.segments.sum(), position) == (size + 1, len(question_ids) + 2)
        first, last = label.tolist()
        if (first, last) != (0, 0):
            answer = span_text(question.context, offsets, start + first - position, start + last - position)
            assert answer == question.answers[0]
            answered.add(number)
    if max_length == 200:
        assert len(inputs) == len(questions)
    assert answered == set(range(len(questions)))


def test_labels_are_numbers_of_their_task(tokenizer: Tokenizer) -> None:
    [(_, similar)] = encode(tokenizer, [Example(PAIRS[0], 4.6)], "jsts", 16)
    [(_, chosen)] = encode(tokenizer, [Example(PAIRS[0], 2)], "jnli", 16)
    assert [str(np.asarray(label).dtype) for label in (similar, chosen)] == ["float32", "int64"]


def test_a_long_sentence_is_cut_off_with_its_labels(tokenizer: Tokenizer) -> None:
    text = "田中は林に青空食堂で会った。" * 2
    sentences = [Sentence(text, (Entity(0, 2, "人名"), Entity(5, 9, "施設名")), "1"), Sentence("林", (), "2")]
    inputs, offsets = encode_sentences(tokenizer, sentences, ("O", "B-人名", "I-人名", "B-施設名", "I-施設名"), 10)
    ([row], tags), (_, other_tags) = inputs
    assert row.ids.tolist() == tokenizer(text, truncation=True, max_length=10)["input_ids"]
    assert row.segments.sum() == 0
    assert tags.tolist() == [IGNORED, 1, 2, 0, 0, 0, 3, 4, 4, IGNORED]
    assert other_tags.tolist() == [IGNORED, 0, IGNORED]
    assert [len(each) for each in offsets] == [8, 1]
