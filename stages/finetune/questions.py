"""JSQuAD: questions on a context, whose answers are parts of it.

A file is one JSON object in the form of SQuAD 1.1. A context is a title, ` [SEP] ` and a paragraph. Other fields are
ignored.
"""

from __future__ import annotations

import sys
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from stages.command.refusal import Refusal
from stages.finetune.examples import TaskData, excerpt, field_objects, field_text
from stages.finetune.inputs import Input, Offsets, Tokenizer, encode_row, ids_and_offsets, token_ids, token_span
from stages.finetune.metrics import answer_scores, best_scores, exact_match, ratio_interval
from stages.finetune.tasks import Task
from stages.handover.manifests import read_json

# [CLS] and two [SEP].
FRAME = 3
# Tokens from one window of a long context to the next, as in the published experiments.
STEP = 128
# The longest answer in tokens, as in the published experiments; more where the training set has longer answers.
LONGEST_ANSWER = 30


class Question(NamedTuple):
    """`start`: the first character of the first answer; None where the context does not have it at answer_start."""

    question: str
    context: str
    answers: tuple[str, ...]
    start: int | None


def read_questions(path: str, task: Task) -> list[Question]:
    """The questions of a file, in order. Refuses an invalid one with its location and the expected form."""
    questions: list[Question] = []
    document = read_json(path)
    if not isinstance(document, dict):
        raise Refusal(f"{path} is not a {task.title} file: it must be one JSON object with a list `data`")
    for article, article_location in field_objects(document, "data", f"{path}, "):
        for paragraph, paragraph_location in field_objects(article, "paragraphs", f"{article_location}."):
            context = field_text(paragraph, "context", paragraph_location)
            for question, location in field_objects(paragraph, "qas", f"{paragraph_location}."):
                questions.append(_question(question, context, location))
    if not questions:
        raise Refusal(f"{path} holds no questions of {task.title}")
    return questions


def _question(value: dict[str, Any], context: str, location: str) -> Question:
    text = field_text(value, "question", location)
    answers: list[str] = []
    starts: list[int | None] = []
    for entry, answer_location in field_objects(value, "answers", f"{location}."):
        answer, start = field_text(entry, "text", answer_location), entry.get("answer_start")
        if type(start) is not int:
            raise Refusal(
                f"{answer_location}: answer_start is {excerpt(start)}; it must be the character of the context, "
                "counted from 0, where the answer begins"
            )
        answers.append(answer)
        starts.append(start if start >= 0 and context.startswith(answer, start) else None)
    if not answers:
        raise Refusal(f"{location}: no answers; every question of JSQuAD has one or more")
    return Question(text, context, tuple(answers), starts[0])


class Window(NamedTuple):
    """A part of a question's context, in a row of its own."""

    question: int  # its index
    offsets: Offsets  # of all tokens of the context
    start: int  # the window's first token, counted in the context
    position: int  # the same token, counted in the row
    size: int  # tokens


def encode_questions(
    tokenizer: Tokenizer, questions: list[Question], max_length: int
) -> tuple[list[Input], list[Window], int]:
    """A row for each window of a question's context, these windows, and the tokens of the longest first answer.

    A row is the question, in at most a third of it, and the window. Its label is the first and last token of the first
    answer in the row, (2,); [CLS] where the window does not have the whole answer, as in the published experiments.
    """
    contexts = {}
    for text in dict.fromkeys(question.context for question in questions):
        ids, offsets = ids_and_offsets(tokenizer, text)
        contexts[text] = np.array(ids, np.int32), offsets
    inputs, places, longest = [], [], 1
    question_ids = token_ids(tokenizer, [question.question for question in questions])
    for number, (question, ids) in enumerate(zip(questions, question_ids, strict=True)):
        ids = ids[: max_length // 3]
        position = len(ids) + 2
        context, offsets = contexts[question.context]
        first, last = 0, -1  # no token
        if question.start is not None:
            stop = question.start + len(question.answers[0])
            first, last = token_span(offsets, question.start, stop) or (first, last)
        longest = max(longest, last - first + 1)
        for start, stop in windows(len(context), max_length - FRAME - len(ids)):
            inside = start <= first <= last < stop
            label = (first - start + position, last - start + position) if inside else (0, 0)
            row = encode_row(tokenizer, ids, context[start:stop].tolist(), max_length)
            inputs.append(Input([row], np.array(label, np.int64)))
            places.append(Window(number, offsets, start, position, stop - start))
    return inputs, places, longest


def windows(tokens: int, size: int) -> list[tuple[int, int]]:
    """(start, stop) of windows of at most `size` tokens that cover `tokens` tokens.

    They overlap by at least half, so that one of them holds all of any answer of half a window.
    """
    step = min(STEP, (size + 1) // 2)
    starts = range(0, max(tokens - size, 0) + step, step)
    return [(start, min(start + size, tokens)) for start in starts]


def span_text(text: str, offsets: Offsets, first: int, last: int) -> str:
    """The original text from the first to the last token, with the white space between them."""
    return text[offsets[first, 0] : offsets[last, 1]]


def best_span(starts: NDArray[Any], ends: NDArray[Any], limit: int) -> tuple[float, int, int]:
    """The span of at most `limit` tokens with the highest sum of logits: that sum, its first and its last token.

    starts, ends: logits of a span's first and last token, both (tokens,).
    """
    sums = starts[:, None] + ends[None, :]
    length = np.arange(len(starts))[None, :] - np.arange(len(starts))[:, None]
    best = int(np.argmax(np.where((length >= 0) & (length < limit), sums, -np.inf)))
    first, last = divmod(best, len(starts))
    return float(sums[first, last]), first, last


class QuestionData(TaskData[Question]):
    def baselines(self) -> dict[str, float | None]:
        return {}

    def encode(self, tokenizer: Tokenizer, max_length: int) -> tuple[list[Input], list[Input]]:
        """Leaves out training questions whose first answer is not in the context at answer_start."""
        usable = [question for question in self.train if question.start is not None]
        if not usable:
            raise Refusal("no answer of the training set is in its context at answer_start; give an unchanged file")
        dropped = len(self.train) - len(usable)
        if dropped:
            print(f"finetune: {dropped:,} training questions left out: no answer at answer_start", file=sys.stderr)
        train, _, longest = encode_questions(tokenizer, usable, max_length)
        dev, self.windows, _ = encode_questions(tokenizer, self.dev, max_length)
        self.longest_answer = max(LONGEST_ANSWER, longest)
        return train, dev

    def figures(self, outputs: Any, model: Any) -> dict[str, Any]:
        """outputs: logits of the first and of the last token of an answer, both (rows, L)."""
        answers, scores = [""] * len(self.dev), [-np.inf] * len(self.dev)
        for (number, offsets, start, position, size), starts, ends in zip(self.windows, *outputs, strict=True):
            if size:
                tokens = slice(position, position + size)
                score, first, last = best_span(starts[tokens], ends[tokens], self.longest_answer)
                if score > scores[number]:
                    scores[number] = score
                    answers[number] = span_text(self.dev[number].context, offsets, start + first, start + last)
        references = [question.answers for question in self.dev]
        exact = best_scores(exact_match, answers, references)
        return {"dev": answer_scores(answers, references), "interval": ratio_interval(exact, [1.0] * len(exact))}
