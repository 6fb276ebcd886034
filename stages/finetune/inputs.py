"""Examples and a tokenizer → the numbers that a model takes, in flat arrays.

A row is `[CLS] first [SEP]` or `[CLS] first [SEP] second [SEP]`; JCommonsenseQA has five a question, JSQuAD one for
each window of the context. NER has one a sentence, cut off at the longest row.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from stages.finetune.entities import tags_of
from stages.finetune.examples import Example, Questions, Sentence
from stages.finetune.spans import Places, text_of, tokens_of, windows
from stages.finetune.tasks import CHOICES, Task

if TYPE_CHECKING:
    from stages.words.tokenization import BertJapaneseTinySegmenterTokenizer

# Texts that are tokenized in one call.
CHUNK = 1000
# [CLS] and two [SEP].
FRAME = 3
# The label of a token that has none, as PyTorch's cross-entropy knows it.
IGNORED = -100


class Rows(NamedTuple):
    """Rows of token ids, one behind another. Of an example, `per_example` rows stand together."""

    ids: NDArray[np.int32]  # (tokens,)
    ends: NDArray[np.int64]  # (rows,) where each row ends
    seconds: NDArray[np.int32]  # (rows,) how many of a row's last tokens are of the second text
    per_example: int
    # (examples,), for spans (examples, 2): first and last token in the row; for NER one array (row's tokens,) a row.
    labels: NDArray[Any] | list[NDArray[np.int64]]

    def __len__(self) -> int:
        return len(self.ends) // self.per_example

    def row(self, number: int) -> tuple[NDArray[np.int32], int]:
        """The ids of a row, and how many of its last are of the second text."""
        return self.ids[self.ends[number - 1] if number else 0 : self.ends[number]], int(self.seconds[number])


def kept(first: int, second: int, room: int) -> tuple[int, int]:
    """How many tokens of two texts stay: tokens leave the end of the longer one until both have room."""
    over = max(first + second - room, 0)
    alone = min(over, abs(first - second))
    both = over - alone
    if first > second:
        return first - alone - both // 2, second - (both + 1) // 2
    return first - both // 2, second - alone - (both + 1) // 2


def text_rows(
    tokenizer: BertJapaneseTinySegmenterTokenizer, examples: Sequence[Example], task: Task, max_length: int
) -> Rows:
    """The rows of a task that is not JSQuAD, each of `max_length` tokens at most."""
    per_example = len(CHOICES) if task.kind == "choice" else 1
    kind = np.float32 if task.kind == "regression" else np.int64
    labels = np.fromiter((example.label for example in examples), kind, len(examples))
    return _packed(_text_rows(tokenizer, examples, max_length), per_example, labels)


def _text_rows(
    tokenizer: BertJapaneseTinySegmenterTokenizer, examples: Sequence[Example], max_length: int
) -> Iterator[tuple[list[int], int]]:
    for begin in range(0, len(examples), CHUNK):
        part = examples[begin : begin + CHUNK]
        encoded = iter(_ids(tokenizer, [text for example in part for text in example.texts]))
        for example in part:
            first, *others = (next(encoded) for _ in example.texts)
            if not others:
                yield _row(tokenizer, first, None, max_length)
            for second in others:
                yield _row(tokenizer, first, second, max_length)


def _ids(tokenizer: BertJapaneseTinySegmenterTokenizer, texts: list[str]) -> list[list[int]]:
    encoded = tokenizer(texts, add_special_tokens=False, return_token_type_ids=False, return_attention_mask=False)
    ids: list[list[int]] = encoded["input_ids"]
    return ids


def _row(
    tokenizer: BertJapaneseTinySegmenterTokenizer, first: list[int], second: list[int] | None, max_length: int
) -> tuple[list[int], int]:
    cls, sep = tokenizer.cls_token_id, tokenizer.sep_token_id
    if second is None:
        return [cls, *first[: max_length - FRAME + 1], sep], 0
    a, b = kept(len(first), len(second), max_length - FRAME)
    return [cls, *first[:a], sep, *second[:b], sep], b + 1


def _packed(
    rows: Iterable[tuple[list[int], int]], per_example: int, labels: NDArray[Any] | list[NDArray[np.int64]]
) -> Rows:
    ids, lengths, seconds = [], [], []
    for row, second in rows:
        ids.append(np.array(row, np.int32))
        lengths.append(len(row))
        seconds.append(second)
    return Rows(np.concatenate(ids), np.cumsum(lengths), np.array(seconds, np.int32), per_example, labels)


def _ids_with_places(tokenizer: BertJapaneseTinySegmenterTokenizer, text: str) -> tuple[list[int], Places]:
    encoded = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
    pairs = np.array(encoded["offset_mapping"], np.int32).reshape(-1, 2)
    return encoded["input_ids"], Places(pairs[:, 0].copy(), pairs[:, 1].copy())


class TagRows(NamedTuple):
    """The rows of NER's sentences, and how to get from their tokens back to the text."""

    rows: Rows
    sentences: Sequence[Sentence]
    places: list[Places]  # of each sentence, of the tokens in its row


def tag_rows(
    tokenizer: BertJapaneseTinySegmenterTokenizer,
    sentences: Sequence[Sentence],
    labels: Sequence[str],
    max_length: int,
) -> TagRows:
    """NER's rows, with IGNORED as the label of [CLS] and [SEP].

    A row is cut off at `max_length` tokens: of an entity behind that, no part is learned or found.
    """
    room = max_length - 2
    rows, tags, places = [], [], []
    for sentence in sentences:
        ids, (starts, stops) = _ids_with_places(tokenizer, sentence.text)
        places.append(Places(starts[:room], stops[:room]))
        rows.append(_row(tokenizer, ids, None, max_length))
        tags.append(np.pad(tags_of(sentence.entities, places[-1], labels), 1, constant_values=IGNORED))
    return TagRows(_packed(rows, 1, tags), sentences, places)


class SpanRows(NamedTuple):
    """The windows of JSQuAD's questions, and how to get from a window's tokens back to the context."""

    rows: Rows
    questions: Questions
    question: NDArray[np.int32]  # (rows,) which question
    begins: NDArray[np.int32]  # (rows,) which token of the context is the first of the window
    offsets: NDArray[np.int32]  # (rows,) where the window begins in the row
    sizes: NDArray[np.int32]  # (rows,) tokens of the context in the window
    places: list[Places]  # of each context
    longest: int  # tokens of the longest first answer

    def answer(self, row: int, first: int, last: int) -> str:
        """The text from one token of a window to another, both counted from the window's first."""
        context = self.questions.questions[self.question[row]].context
        begin = int(self.begins[row])
        return text_of(self.questions.contexts[context], self.places[context], begin + first, begin + last)


def span_rows(tokenizer: BertJapaneseTinySegmenterTokenizer, given: Questions, max_length: int) -> SpanRows:
    """JSQuAD's rows: the question, at most a third of the row, and a window of the context.

    Where a window does not hold the whole (first) answer, the label is [CLS], as in the published experiments.
    """
    contexts, places = [], []
    for text in given.contexts:
        ids, places_of_text = _ids_with_places(tokenizer, text)
        contexts.append(np.array(ids, np.int32))
        places.append(places_of_text)
    asked: list[list[int]] = []
    for begin in range(0, len(given.questions), CHUNK):
        asked += _ids(tokenizer, [question.question for question in given.questions[begin : begin + CHUNK]])

    rows, labels, question, begins, sizes, before, longest = [], [], [], [], [], [], 1
    for number, (example, ids) in enumerate(zip(given.questions, asked, strict=True)):
        ids = ids[: max_length // 3]
        right = None
        if example.start is not None:
            right = tokens_of(places[example.context], example.start, example.start + len(example.answers[0]))
        if right is not None:
            longest = max(longest, right[1] - right[0] + 1)
        context = contexts[example.context]
        for begin, end in windows(len(context), max_length - FRAME - len(ids)):
            offset = len(ids) + 2
            rows.append(_row(tokenizer, ids, context[begin:end].tolist(), max_length))
            inside = right and begin <= right[0] and right[1] < end
            labels.append([place - begin + offset for place in right] if right and inside else [0, 0])
            question.append(number)
            begins.append(begin)
            before.append(offset)
            sizes.append(end - begin)
    return SpanRows(
        rows=_packed(rows, 1, np.array(labels, np.int64)),
        questions=given,
        question=np.array(question, np.int32),
        begins=np.array(begins, np.int32),
        offsets=np.array(before, np.int32),
        sizes=np.array(sizes, np.int32),
        places=places,
        longest=longest,
    )
