"""Examples → rows: equal to those of transformers' own call, and JSQuAD's windows with their answers."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.finetune.examples import Entity, Example, Sentence, read_questions
from stages.finetune.inputs import IGNORED, span_rows, tag_rows, text_rows, truncate
from stages.finetune.tasks import TASKS
from stages.words.tokenization import BertJapaneseTinySegmenterTokenizer as Tokenizer
from tests.finetune.samples import PAIRS, characters, jsquad


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    path = tmp_path_factory.mktemp("inputs") / "vocab.txt"
    entries = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *characters()]
    path.write_text("\n".join(entries) + "\n", encoding="utf-8")
    return Tokenizer(path, subword_tokenizer_type="character")


@given(st.integers(0, 30), st.integers(0, 30), st.integers(1, 40))
def test_tokens_leave_the_longer_text_first(first: int, second: int, limit: int) -> None:
    """One by one, and of two equally long ones the second's: what transformers calls longest_first."""
    a, b = first, second
    while a + b > limit:
        a, b = (a - 1, b) if a > b else (a, b - 1)
    assert truncate(first, second, limit) == (a, b)


@pytest.mark.parametrize("max_length", [16, 24, 64])
def test_rows_are_what_transformers_makes_of_two_texts(tokenizer: Tokenizer, max_length: int) -> None:
    rows = text_rows(tokenizer, [Example(pair, 1) for pair in PAIRS], TASKS["jnli"], max_length)
    assert len(rows) == len(PAIRS)
    for number, pair in enumerate(PAIRS):
        expected = tokenizer(*pair, truncation="longest_first", max_length=max_length)
        ids, second = rows.row(number)
        assert ids.tolist() == expected["input_ids"]
        assert [0] * (len(ids) - second) + [1] * second == expected["token_type_ids"]


def test_rows_of_one_text(tokenizer: Tokenizer) -> None:
    text = PAIRS[0][0] * 3
    rows = text_rows(tokenizer, [Example((text,), 0), Example(("犬",), 1)], TASKS["marc-ja"], 20)
    ids, second = rows.row(0)
    assert ids.tolist() == tokenizer(text, truncation=True, max_length=20)["input_ids"]
    assert (len(ids), second) == (20, 0)
    assert tokenizer.convert_ids_to_tokens(rows.row(1)[0].tolist()) == ["[CLS]", "犬", "[SEP]"]
    assert list(rows.labels) == [0, 1]


def test_a_question_with_five_choices_is_five_rows(tokenizer: Tokenizer) -> None:
    rows = text_rows(tokenizer, [Example(("夜は？", *"雨石星道米"), 2)], TASKS["jcommonsenseqa"], 16)
    assert len(rows) == 1
    assert ["".join(tokenizer.convert_ids_to_tokens(rows.row(n)[0].tolist())) for n in range(5)] == [
        f"[CLS]夜は?[SEP]{choice}[SEP]" for choice in "雨石星道米"
    ]


@pytest.mark.parametrize("max_length", [24, 40, 64, 200])
def test_windows_lead_to_the_answers_and_back(tokenizer: Tokenizer, tmp_path: Path, max_length: int) -> None:
    path = tmp_path / "train.json"
    path.write_text(json.dumps(jsquad()), encoding="utf-8")
    spans = span_rows(tokenizer, read_questions(str(path)), max_length)
    answered = set()
    for row in range(len(spans.rows)):
        question = spans.questions.questions[spans.question[row]]
        ids, second = spans.rows.row(row)
        assert len(ids) <= max_length
        context = tokenizer(spans.questions.contexts[question.context], add_special_tokens=False)["input_ids"]
        question_ids = tokenizer(question.question, add_special_tokens=False)["input_ids"][: max_length // 3]
        start, size, position = (int(column[row]) for column in (spans.starts, spans.sizes, spans.positions))
        assert ids.tolist() == [2, *question_ids, 3, *context[start : start + size], 3]
        assert (second, position) == (size + 1, len(question_ids) + 2)
        first, last = spans.rows.labels[row].tolist()
        if (first, last) != (0, 0):
            assert spans.answer(row, first - position, last - position) == question.answers[0]
            answered.add(int(spans.question[row]))
    if max_length == 200:
        assert len(spans.rows) == len(spans.questions.questions)
    assert answered == set(range(len(spans.questions.questions)))


def test_labels_are_numbers_of_their_task(tokenizer: Tokenizer) -> None:
    similar = text_rows(tokenizer, [Example(PAIRS[0], 4.6)], TASKS["jsts"], 16).labels
    chosen = text_rows(tokenizer, [Example(PAIRS[0], 2)], TASKS["jnli"], 16).labels
    assert [str(np.asarray(labels).dtype) for labels in (similar, chosen)] == ["float32", "int64"]


def test_a_long_sentence_is_cut_off_with_its_labels(tokenizer: Tokenizer) -> None:
    text = "田中は林に青空食堂で会った。" * 2
    sentences = [Sentence(text, (Entity(0, 2, "人名"), Entity(5, 9, "施設名")), "1"), Sentence("林", (), "2")]
    tags = tag_rows(tokenizer, sentences, ("O", "B-人名", "I-人名", "B-施設名", "I-施設名"), 10)
    ids, second = tags.rows.row(0)
    assert ids.tolist() == tokenizer(text, truncation=True, max_length=10)["input_ids"]
    assert second == 0
    assert tags.rows.labels[0].tolist() == [IGNORED, 1, 2, 0, 0, 0, 3, 4, 4, IGNORED]
    assert tags.rows.labels[1].tolist() == [IGNORED, 0, IGNORED]
    assert [len(offsets.starts) for offsets in tags.offsets] == [8, 1]
