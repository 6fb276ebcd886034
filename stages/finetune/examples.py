"""A file of a task → its examples, every field checked.

JSTS, JNLI, JCommonsenseQA and MARC-ja are a JSON object a line; JSQuAD is one JSON object in the form of SQuAD 1.1,
whose contexts are a title, ` [SEP] ` and a paragraph. JSICK is a table with tabs between the cells. NER is one JSON
array of sentences with their entities. Fields that no task needs are ignored.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from typing import Any, NamedTuple

from stages.command.refusal import Refusal
from stages.finetune.tasks import LEAST, MOST, Task
from stages.handover import storage
from stages.handover.manifests import read_json


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

    def __len__(self) -> int:
        return len(self.questions)


class Entity(NamedTuple):
    """A name in a text: text[start:stop]."""

    start: int
    stop: int
    type: str


class Sentence(NamedTuple):
    """A text with its entities in order, which do not overlap. `page`: the Wikipedia page that it comes from."""

    text: str
    entities: tuple[Entity, ...]
    page: str


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


def read_table(path: str, task: Task) -> list[tuple[Example, str]]:
    """The examples of a table with headings, each with its cell `data`: "" where the table has no such column.

    Cells are separated by tabs and never quoted. Refuses a bad row with file, line, and what was expected there.
    """
    rows, columns = [], (*task.texts, task.label)
    lines = _lines(path)
    headings = lines[0].split("\t")
    missing = [column for column in columns if column not in headings]
    if missing:
        raise Refusal(
            f"{path}, line 1: no column {missing[0]}; {task.title} is a table with headings, separated by tabs, "
            f"with the columns {', '.join(columns)}"
        )
    for number, line in enumerate(lines[1:], 2):
        if line:
            where, cells = f"{path}, line {number}", line.split("\t")
            if len(cells) != len(headings):
                raise Refusal(f"{where}: {len(cells)} cells; line 1 has {len(headings)} headings")
            row = dict(zip(headings, cells, strict=True))
            texts = tuple(_text(row, name, where) for name in task.texts)
            rows.append((Example(texts, _label(row[task.label], where, task)), row.get("data", "")))
    if not rows:
        raise Refusal(f"{path} holds no examples of {task.title}")
    return rows


def _lines(path: str) -> list[str]:
    try:
        with storage.reading(path) as stream:
            data = stream.read()
        return data.decode().replace("\r\n", "\n").split("\n")
    except OSError as error:
        raise Refusal(f"cannot read {path}: {error.strerror}")
    except UnicodeDecodeError as error:
        raise Refusal(f"{path}, byte {error.start + 1}: not UTF-8")


def read_sentences(path: str) -> list[Sentence]:
    """The sentences of a file of entities. Refuses a bad one with file, place, and what was expected there."""
    document = read_json(path)
    if not isinstance(document, list):
        raise Refusal(f"{path} is no file of NER: it must be one JSON array of objects with text and entities")
    sentences = [_sentence(value, path, place) for value, place in _objects(document, "", path)]
    if not sentences:
        raise Refusal(f"{path} holds no sentences of NER")
    return sentences


def _sentence(value: dict[str, Any], path: str, place: str) -> Sentence:
    text = _text(value, "text", f"{path}, {place}")
    entities: list[tuple[Entity, str]] = []
    for entry, there in _entries(value, "entities", path, place + "."):
        where, span = f"{path}, {there}", entry.get("span")
        name, kind = _text(entry, "name", where), _text(entry, "type", where)
        if not (isinstance(span, list) and len(span) == 2 and all(type(edge) is int for edge in span)):
            raise Refusal(
                f"{where}: span is {_shown(span)}; it must be the entity's first character and the one after its last, "
                "counted from 0: [0, 7]"
            )
        start, stop = span
        if start < 0 or text[start:stop] != name:
            raise Refusal(
                f"{where}: span {span} of the text is {_shown(text[max(start, 0) : stop])}, not {_shown(name)}"
            )
        entities.append((Entity(start, stop, kind), where))
    entities.sort()
    for (before, _), (entity, where) in itertools.pairwise(entities):
        if entity.start < before.stop:
            raise Refusal(
                f"{where}: span {[entity.start, entity.stop]} overlaps {[before.start, before.stop]}; a character can "
                "be in one entity only"
            )
    return Sentence(text, tuple(entity for entity, _ in entities), str(value.get("curid", text)))


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
    yield from _objects(entries, prefix + name, path)


def _objects(entries: list[Any], name: str, path: str) -> Iterator[tuple[dict[str, Any], str]]:
    for number, entry in enumerate(entries):
        place = f"{name}[{number}]"
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
