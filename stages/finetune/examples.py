"""A file of a task → its examples, every field checked.

JSTS, JNLI, JCommonsenseQA and MARC-ja are JSON lines. JSQuAD is one JSON object in the form of SQuAD 1.1; its contexts
are a title, ` [SEP] ` and a paragraph. JSICK is a table of cells separated by tabs. NER is one JSON array of sentences
with their entities. Other fields are ignored.

A refusal starts with a location: `FILE, line 2`, or `FILE, data[0].paragraphs[2]`.
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
    """A question of JSQuAD. `context`: an index of `Questions.contexts`.

    `start`: the first character of the first answer; None where the context does not hold that answer at answer_start.
    """

    question: str
    context: int
    answers: tuple[str, ...]
    start: int | None


class Questions(NamedTuple):
    """Questions of JSQuAD, and the contexts that they share."""

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
    """A text with its entities in order, without overlaps. `page`: its Wikipedia page."""

    text: str
    entities: tuple[Entity, ...]
    page: str


def read_examples(path: str, task: Task) -> list[Example]:
    """The examples of a file of JSON lines. Refuses an invalid line with its location and the expected form."""
    examples = []
    try:
        with storage.reading(path) as stream:
            for number, line in enumerate(stream, 1):
                if line.strip():
                    examples.append(_example(line, f"{path}, line {number}", task))
    except OSError as error:
        raise Refusal(f"cannot read {path}: {error.strerror}")
    if not examples:
        raise Refusal(f"{path} holds no examples of {task.title}")
    return examples


def _example(line: bytes, location: str, task: Task) -> Example:
    fields = (*task.texts, "label")
    try:
        value = json.loads(line.decode())
    except UnicodeDecodeError as error:
        raise Refusal(f"{location}, byte {error.start + 1}: not UTF-8")
    except (ValueError, RecursionError) as error:
        raise Refusal(f"{location}: not JSON ({error}); {task.title} is one JSON object a line")
    if not isinstance(value, dict):
        raise Refusal(f"{location}: not a JSON object; {task.title} has one a line, with {', '.join(fields)}")
    for name in fields:
        if name not in value:
            raise Refusal(f"{location}: no field {name}; an example of {task.title} has {', '.join(fields)}")
    return Example(tuple(_text(value, name, location) for name in task.texts), _label(value["label"], location, task))


def read_table(path: str, task: Task) -> list[tuple[Example, str]]:
    """The examples of a table with headings, each with its cell `data`: "" where the table has no such column.

    Tabs separate the cells; quotes have no meaning. Refuses an invalid row with its location and the expected form.
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
            location, cells = f"{path}, line {number}", line.split("\t")
            if len(cells) != len(headings):
                raise Refusal(f"{location}: {len(cells)} cells; line 1 has {len(headings)} headings")
            row = dict(zip(headings, cells, strict=True))
            texts = tuple(_text(row, name, location) for name in task.texts)
            rows.append((Example(texts, _label(row[task.label], location, task)), row.get("data", "")))
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
    """The sentences of a NER file. Refuses an invalid one with its location and the expected form."""
    document = read_json(path)
    if not isinstance(document, list):
        raise Refusal(f"{path} is not a NER file: it must be one JSON array of objects with text and entities")
    sentences = [_sentence(value, location) for value, location in _objects(document, f"{path}, ")]
    if not sentences:
        raise Refusal(f"{path} holds no sentences of NER")
    return sentences


def _sentence(value: dict[str, Any], location: str) -> Sentence:
    text = _text(value, "text", location)
    entities: list[tuple[Entity, str]] = []
    for entry, entity_location in _entries(value, "entities", f"{location}."):
        name, kind, span = (
            _text(entry, "name", entity_location),
            _text(entry, "type", entity_location),
            entry.get("span"),
        )
        if not (isinstance(span, list) and len(span) == 2 and all(type(edge) is int for edge in span)):
            raise Refusal(
                f"{entity_location}: span is {_excerpt(span)}; it must be the entity's first character and the one "
                "after its last, counted from 0: [0, 7]"
            )
        start, stop = span
        if start < 0 or text[start:stop] != name:
            content = _excerpt(text[max(start, 0) : stop])
            raise Refusal(f"{entity_location}: span {span} of the text is {content}, not {_excerpt(name)}")
        entities.append((Entity(start, stop, kind), entity_location))
    entities.sort()
    for (previous, _), (entity, entity_location) in itertools.pairwise(entities):
        if entity.start < previous.stop:
            raise Refusal(
                f"{entity_location}: span {[entity.start, entity.stop]} overlaps {[previous.start, previous.stop]}; a "
                "character can be in one entity only"
            )
    return Sentence(text, tuple(entity for entity, _ in entities), str(value.get("curid", text)))


def read_questions(path: str) -> Questions:
    """The questions of a JSQuAD file, in order. Refuses an invalid one with its location and the expected form."""
    contexts: list[str] = []
    questions: list[Question] = []
    document = read_json(path)
    if not isinstance(document, dict):
        raise Refusal(f"{path} is not a JSQuAD file: it must be one JSON object with a list `data`")
    for article, article_location in _entries(document, "data", f"{path}, "):
        for paragraph, paragraph_location in _entries(article, "paragraphs", f"{article_location}."):
            context = _text(paragraph, "context", paragraph_location)
            for question, question_location in _entries(paragraph, "qas", f"{paragraph_location}."):
                questions.append(_question(question, len(contexts), context, question_location))
            contexts.append(context)
    if not questions:
        raise Refusal(f"{path} holds no questions of JSQuAD")
    return Questions(contexts, questions)


def _question(value: dict[str, Any], number: int, context: str, location: str) -> Question:
    text = _text(value, "question", location)
    answers: list[str] = []
    starts: list[int | None] = []
    for entry, answer_location in _entries(value, "answers", f"{location}."):
        answer, start = _text(entry, "text", answer_location), entry.get("answer_start")
        if isinstance(start, bool) or not isinstance(start, int):
            raise Refusal(
                f"{answer_location}: answer_start is {_excerpt(start)}; it must be the character of the context, "
                "counted from 0, where the answer begins"
            )
        answers.append(answer)
        starts.append(start if start >= 0 and context.startswith(answer, start) else None)
    if not answers:
        raise Refusal(f"{location}: no answers; every question of JSQuAD has one or more")
    return Question(text, number, tuple(answers), starts[0])


def _entries(value: dict[str, Any], name: str, prefix: str) -> Iterator[tuple[dict[str, Any], str]]:
    """Each object of the list `name` of a JSON object, with its location: `prefix`, the name and an index."""
    entries = value.get(name)
    if not isinstance(entries, list):
        raise Refusal(f"{prefix}{name}: must be a list of objects, and is {_excerpt(entries)}")
    yield from _objects(entries, prefix + name)


def _objects(entries: list[Any], prefix: str) -> Iterator[tuple[dict[str, Any], str]]:
    for number, entry in enumerate(entries):
        location = f"{prefix}[{number}]"
        if not isinstance(entry, dict):
            raise Refusal(f"{location}: must be an object, and is {_excerpt(entry)}")
        yield entry, location


def _text(value: dict[str, Any], name: str, location: str) -> str:
    text = value.get(name)
    if not isinstance(text, str) or not text:
        raise Refusal(f"{location}: {name} must be a text, and is {_excerpt(text)}")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise Refusal(f"{location}: {name} has half of a surrogate pair at character {error.start + 1}")
    return text


def _label(label: Any, location: str, task: Task) -> float:
    if task.kind == "regression":
        try:  # float also takes digits in quotes, which are allowed, and booleans, which are not.
            number = float("nan" if isinstance(label, bool) else label)
        except (TypeError, ValueError):
            number = float("nan")
        if LEAST <= number <= MOST:
            return number
        expected = f"a number from {LEAST:g} to {MOST:g}"
    elif task.kind == "choice":
        if isinstance(label, int) and not isinstance(label, bool) and 0 <= label < len(task.labels):
            return label
        expected = "a whole number from 0 to 4"
    elif label in task.labels:
        return task.labels.index(label)
    else:
        expected = f"one of {', '.join(task.labels)}"
    raise Refusal(f"{location}: label is {_excerpt(label)}; it must be {expected}")


def _excerpt(value: Any) -> str:
    """A JSON value in at most 40 characters."""
    text = "missing" if value is None else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 40 else text[:39] + "…"
