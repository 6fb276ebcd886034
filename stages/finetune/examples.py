"""A file in the form of JGLUE → its examples, every field checked.

JSTS, JNLI, JCommonsenseQA and MARC-ja are a JSON object a line; JSQuAD is one JSON object in the form of SQuAD 1.1,
whose contexts are a title, ` [SEP] ` and a paragraph. Fields that no task needs are passed over.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, NamedTuple

from stages import storage
from stages.finetune.tasks import LEAST, MOST, Task
from stages.handover import Refusal, read_json


class Example(NamedTuple):
    """Texts in the order of the task's fields, and the label: a number of `Task.labels`, or JSTS's similarity."""

    texts: tuple[str, ...]
    label: float


class Question(NamedTuple):
    """A question of JSQuAD. `context` is a place in `Questions.contexts`; the first answer begins at `start` there.

    `start` is None where that answer is not in the context at the place that the file names.
    """

    question: str
    context: int
    answers: tuple[str, ...]
    start: int | None


class Questions(NamedTuple):
    """JSQuAD: questions, and the contexts they share."""

    contexts: list[str]
    questions: list[Question]


def read_examples(path: str, task: Task) -> list[Example]:
    """The examples of a file of JSON lines. Refuses what is none, with file, line, and what was expected there."""
    examples = []
    try:
        with storage.reading(path) as stream:
            for number, line in enumerate(stream, 1):
                if line.strip():
                    where = f"{path}, line {number}"
                    examples.append(_example(_object(line, where, task), where, task))
    except OSError as error:
        raise Refusal(f"cannot read {path}: {error.strerror}")
    if not examples:
        raise Refusal(f"{path} holds no examples of {task.title}")
    return examples


def read_questions(path: str) -> Questions:
    """The questions of a JSQuAD file, in order. Refuses what is none, with file, place, and what was expected there."""
    found = Questions([], [])
    document = read_json(path)
    if not isinstance(document, dict):
        raise Refusal(f"{path} is no file of JSQuAD: it must be one JSON object with a list `data`")
    for article, there in _entries(document, "data", path, ""):
        for paragraph, inside in _entries(article, "paragraphs", path, there + "."):
            context = _text(paragraph, "context", f"{path}, {inside}")
            for asked, place in _entries(paragraph, "qas", path, inside + "."):
                found.questions.append(_question(asked, len(found.contexts), context, path, place))
            found.contexts.append(context)
    if not found.questions:
        raise Refusal(f"{path} holds no questions of JSQuAD")
    return found


def _object(line: bytes, where: str, task: Task) -> dict[str, Any]:
    try:
        value = json.loads(line.decode())
    except UnicodeDecodeError as error:
        raise Refusal(f"{where}, byte {error.start + 1}: not UTF-8")
    except (ValueError, RecursionError) as error:
        raise Refusal(f"{where}: not JSON ({error}); {task.title} is one JSON object a line")
    if not isinstance(value, dict):
        raise Refusal(f"{where}: not a JSON object; {task.title} has one a line, with {_fields(task)}")
    return value


def _fields(task: Task) -> str:
    return ", ".join((*task.texts, "label"))


def _example(value: dict[str, Any], where: str, task: Task) -> Example:
    for name in (*task.texts, "label"):
        if name not in value:
            raise Refusal(f"{where}: no field {name}; an example of {task.title} has {_fields(task)}")
    return Example(tuple(_text(value, name, where) for name in task.texts), _label(value["label"], where, task))


def _text(value: dict[str, Any], name: str, where: str) -> str:
    text = value.get(name)
    if not isinstance(text, str) or not text:
        raise Refusal(f"{where}: {name} must be a text, and is {_shown(text)}")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise Refusal(f"{where}: {name} has half of a surrogate pair at character {error.start + 1}")
    return text


def _label(label: Any, where: str, task: Task) -> float:
    if task.kind == "regression":
        try:  # Digits in quotes are a number too.
            number = float("nan" if isinstance(label, bool) else label)
        except (TypeError, ValueError):
            number = float("nan")
        if not LEAST <= number <= MOST:
            raise Refusal(f"{where}: label is {_shown(label)}; it must be a number from {LEAST:g} to {MOST:g}")
        return number
    if task.kind == "choice":
        if isinstance(label, bool) or not isinstance(label, int) or not 0 <= label < len(task.labels):
            raise Refusal(f"{where}: label is {_shown(label)}; it must be a whole number from 0 to 4")
        return label
    if label not in task.labels:
        raise Refusal(f"{where}: label is {_shown(label)}; it must be one of {', '.join(task.labels)}")
    return task.labels.index(label)


def _entries(value: dict[str, Any], name: str, path: str, prefix: str) -> Iterator[tuple[dict[str, Any], str]]:
    """Each object of a list in a JSON object, with its place in the file: `data[0].paragraphs[2]`."""
    entries = value.get(name)
    if not isinstance(entries, list):
        raise Refusal(f"{path}, {prefix}{name}: must be a list of objects, and is {_shown(entries)}")
    for number, entry in enumerate(entries):
        place = f"{prefix}{name}[{number}]"
        if not isinstance(entry, dict):
            raise Refusal(f"{path}, {place}: must be an object, and is {_shown(entry)}")
        yield entry, place


def _question(value: dict[str, Any], number: int, context: str, path: str, place: str) -> Question:
    question = _text(value, "question", f"{path}, {place}")
    answers: list[str] = []
    starts: list[int | None] = []
    for answer, there in _entries(value, "answers", path, place + "."):
        text, start = _text(answer, "text", f"{path}, {there}"), answer.get("answer_start")
        if isinstance(start, bool) or not isinstance(start, int):
            raise Refusal(
                f"{path}, {there}: answer_start is {_shown(start)}; it must be the character of the context, counted "
                "from 0, where the answer begins"
            )
        answers.append(text)
        starts.append(start if start >= 0 and context.startswith(text, start) else None)
    if not answers:
        raise Refusal(f"{path}, {place}: no answers; every question of JSQuAD has one or more")
    return Question(question, number, tuple(answers), starts[0])


def _shown(value: Any) -> str:
    """A JSON value, short enough for a message."""
    text = "missing" if value is None else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 40 else text[:39] + "…"
