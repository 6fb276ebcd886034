"""Examples and a tokenizer → the inputs of a model, in flat arrays.

A row is `[CLS] first [SEP]` or `[CLS] first [SEP] second [SEP]`. JCommonsenseQA has five rows a question, JSQuAD one
for each window of the context, NER one a sentence, truncated to the longest row.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from stages.finetune.entities import encode_tags
from stages.finetune.examples import Example, Questions, Sentence
from stages.finetune.spans import Offsets, span_text, token_span, windows
from stages.finetune.tasks import CHOICES, Task

if TYPE_CHECKING:
    from stages.words.tokenization import BertJapaneseTinySegmenterTokenizer

# Texts in one call of the tokenizer.
CHUNK = 1000
# [CLS] and two [SEP].
FRAME = 3
# The label of tokens without one: the default ignore_index of PyTorch's cross-entropy.
IGNORED = -100


class Rows(NamedTuple):
    """Rows of token ids, concatenated. An example has `per_example` consecutive rows."""

    ids: NDArray[np.int32]  # (tokens,)
    ends: NDArray[np.int64]  # (rows,) where each row ends
    seconds: NDArray[np.int32]  # (rows,) tokens of the second text, at the row's end
    per_example: int
    # (examples,); for spans (examples, 2): first and last token in the row; for NER an array (tokens of the row,) a row
    labels: NDArray[Any] | list[NDArray[np.int64]]

    def __len__(self) -> int:
        return len(self.ends) // self.per_example

    def row(self, number: int) -> tuple[NDArray[np.int32], int]:
        """The ids of a row, and the number of tokens of the second text at its end."""
        return self.ids[self.ends[number - 1] if number else 0 : self.ends[number]], int(self.seconds[number])


def truncate(first: int, second: int, limit: int) -> tuple[int, int]:
    """The lengths of two texts, truncated to `limit` tokens together; transformers calls the rule longest_first."""
    excess = max(first + second - limit, 0)
    alone = min(excess, abs(first - second))
    both = excess - alone
    if first > second:
        return first - alone - both // 2, second - (both + 1) // 2
    return first - both // 2, second - alone - (both + 1) // 2


def text_rows(
    tokenizer: BertJapaneseTinySegmenterTokenizer, examples: Sequence[Example], task: Task, max_length: int
) -> Rows:
    """The rows of a task other than JSQuAD and NER, each of at most `max_length` tokens."""
    per_example = len(CHOICES) if task.kind == "choice" else 1
    dtype = np.float32 if task.kind == "regression" else np.int64
    labels = np.fromiter((example.label for example in examples), dtype, len(examples))
    return _pack(_text_rows(tokenizer, examples, max_length), per_example, labels)


def _text_rows(
    tokenizer: BertJapaneseTinySegmenterTokenizer, examples: Sequence[Example], max_length: int
) -> Iterator[tuple[list[int], int]]:
    for start in range(0, len(examples), CHUNK):
        chunk = examples[start : start + CHUNK]
        ids = iter(_token_ids(tokenizer, [text for example in chunk for text in example.texts]))
        for example in chunk:
            first, *others = (next(ids) for _ in example.texts)
            if not others:
                yield _row(tokenizer, first, None, max_length)
            for second in others:
                yield _row(tokenizer, first, second, max_length)


def _token_ids(tokenizer: BertJapaneseTinySegmenterTokenizer, texts: list[str]) -> list[list[int]]:
    encoding = tokenizer(texts, add_special_tokens=False, return_token_type_ids=False, return_attention_mask=False)
    ids: list[list[int]] = encoding["input_ids"]
    return ids


def _row(
    tokenizer: BertJapaneseTinySegmenterTokenizer, first: list[int], second: list[int] | None, max_length: int
) -> tuple[list[int], int]:
    cls, sep = tokenizer.cls_token_id, tokenizer.sep_token_id
    if second is None:
        return [cls, *first[: max_length - FRAME + 1], sep], 0
    a, b = truncate(len(first), len(second), max_length - FRAME)
    return [cls, *first[:a], sep, *second[:b], sep], b + 1


def _pack(
    rows: Iterable[tuple[list[int], int]], per_example: int, labels: NDArray[Any] | list[NDArray[np.int64]]
) -> Rows:
    ids, lengths, seconds = [], [], []
    for row, second in rows:
        ids.append(np.array(row, np.int32))
        lengths.append(len(row))
        seconds.append(second)
    return Rows(np.concatenate(ids), np.cumsum(lengths), np.array(seconds, np.int32), per_example, labels)


def _ids_and_offsets(tokenizer: BertJapaneseTinySegmenterTokenizer, text: str) -> tuple[list[int], Offsets]:
    encoding = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
    pairs = np.array(encoding["offset_mapping"], np.int32).reshape(-1, 2)
    return encoding["input_ids"], Offsets(pairs[:, 0].copy(), pairs[:, 1].copy())


class TagRows(NamedTuple):
    """The rows of NER's sentences, and the offsets of their tokens in the text."""

    rows: Rows
    sentences: Sequence[Sentence]
    offsets: list[Offsets]  # for each sentence, of the tokens in its row


def tag_rows(
    tokenizer: BertJapaneseTinySegmenterTokenizer,
    sentences: Sequence[Sentence],
    labels: Sequence[str],
    max_length: int,
) -> TagRows:
    """NER's rows, with IGNORED as the label of [CLS] and [SEP].

    A row is truncated to `max_length` tokens. Entities behind that are neither learned nor predicted.
    """
    limit = max_length - 2
    rows, tags, offsets = [], [], []
    for sentence in sentences:
        ids, (starts, stops) = _ids_and_offsets(tokenizer, sentence.text)
        offsets.append(Offsets(starts[:limit], stops[:limit]))
        rows.append(_row(tokenizer, ids, None, max_length))
        tags.append(np.pad(encode_tags(sentence.entities, offsets[-1], labels), 1, constant_values=IGNORED))
    return TagRows(_pack(rows, 1, tags), sentences, offsets)


class SpanRows(NamedTuple):
    """The windows of JSQuAD's questions, and their places in the rows and in the contexts."""

    rows: Rows
    questions: Questions
    question: NDArray[np.int32]  # (rows,) index of the question
    starts: NDArray[np.int32]  # (rows,) the window's first token, counted in the context
    positions: NDArray[np.int32]  # (rows,) the same token, counted in the row
    sizes: NDArray[np.int32]  # (rows,) tokens of the context in the window
    offsets: list[Offsets]  # of each context
    longest: int  # tokens of the longest first answer

    def answer(self, row: int, first: int, last: int) -> str:
        """The text from one token of a window to another, both counted from the window's first."""
        context = self.questions.questions[self.question[row]].context
        start = int(self.starts[row])
        return span_text(self.questions.contexts[context], self.offsets[context], start + first, start + last)


def span_rows(tokenizer: BertJapaneseTinySegmenterTokenizer, questions: Questions, max_length: int) -> SpanRows:
    """JSQuAD's rows: the question in at most a third of the row, and a window of the context.

    The label of a window without the whole (first) answer is [CLS], as in the published experiments.
    """
    contexts, offsets = [], []
    for text in questions.contexts:
        ids, context_offsets = _ids_and_offsets(tokenizer, text)
        contexts.append(np.array(ids, np.int32))
        offsets.append(context_offsets)
    question_ids: list[list[int]] = []
    for begin in range(0, len(questions), CHUNK):
        question_ids += _token_ids(tokenizer, [each.question for each in questions.questions[begin : begin + CHUNK]])

    rows, labels, places, longest = [], [], [], 1
    for number, (question, ids) in enumerate(zip(questions.questions, question_ids, strict=True)):
        ids = ids[: max_length // 3]
        position = len(ids) + 2
        span = None
        if question.start is not None:
            stop = question.start + len(question.answers[0])
            span = token_span(offsets[question.context], question.start, stop)
        if span is not None:
            longest = max(longest, span[1] - span[0] + 1)
        context = contexts[question.context]
        for start, stop in windows(len(context), max_length - FRAME - len(ids)):
            rows.append(_row(tokenizer, ids, context[start:stop].tolist(), max_length))
            inside = span is not None and start <= span[0] and span[1] < stop
            labels.append([token - start + position for token in span] if span and inside else [0, 0])
            places.append((number, start, position, stop - start))
    numbers, starts, positions, sizes = np.array(places, np.int32).T.copy()
    packed = _pack(rows, 1, np.array(labels, np.int64))
    return SpanRows(packed, questions, numbers, starts, positions, sizes, offsets, longest)
