"""JSTS, JNLI, JCommonsenseQA, MARC-ja and JSICK: one or more texts with a label.

JSICK's files are tables with tabs between the cells, the others JSON lines. Other fields are ignored.
"""

from __future__ import annotations

import contextlib
import itertools
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from stages.command.refusal import Refusal
from stages.estimates import wilson
from stages.finetune.examples import TaskData, excerpt, field_text
from stages.finetune.inputs import Input, Tokenizer, encode_row, token_ids
from stages.finetune.metrics import accuracy, character_f1, correlation_interval, correlations
from stages.finetune.tasks import LEAST, MOST, Task
from stages.handover import storage

# Thresholds of the overlap are hundredths.
STEPS = 100


class Example(NamedTuple):
    """Texts in the order of the task's fields, and the label: a number of `Task.labels`, or JSTS's similarity.

    `part`: the cell of JSICK's column `data`; "" without it.
    """

    texts: tuple[str, ...]
    label: float
    part: str = ""

    @property
    def group(self) -> str:
        return self.texts[0]


def read_examples(path: str, task: Task) -> list[Example]:
    """The examples of a file. Refuses an invalid line with its location and the expected form."""
    rows = _table_rows if task.ends == (".tsv",) else _json_lines
    examples = []
    for row, location in rows(path, task):
        texts = tuple(field_text(row, name, location) for name in task.texts)
        part = row.get("data", "") if task.groups else ""
        examples.append(Example(texts, _label(row[task.label], location, task), part))
    if not examples:
        raise Refusal(f"{path} holds no examples of {task.title}")
    return examples


def _json_lines(path: str, task: Task) -> Iterator[tuple[dict[str, Any], str]]:
    """The object of each line that is not empty, with its location."""
    try:
        with storage.reading(path) as stream:
            for number, line in enumerate(stream, 1):
                if line.strip():
                    location = f"{path}, line {number}"
                    yield _json_object(line, location, task), location
    except OSError as error:
        raise Refusal(f"cannot read {path}: {error.strerror}")


def _json_object(line: bytes, location: str, task: Task) -> dict[str, Any]:
    fields = (*task.texts, task.label)
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
    return value


def _table_rows(path: str, task: Task) -> Iterator[tuple[dict[str, Any], str]]:
    """Each row of a table as heading → cell, with its location. Quotes have no meaning."""
    columns = (*task.texts, task.label)
    try:
        with storage.reading(path) as stream:
            first, *lines = stream.read().decode().replace("\r\n", "\n").split("\n")
    except OSError as error:
        raise Refusal(f"cannot read {path}: {error.strerror}")
    except UnicodeDecodeError as error:
        raise Refusal(f"{path}, byte {error.start + 1}: not UTF-8")
    headings = first.split("\t")
    missing = [column for column in columns if column not in headings]
    if missing:
        raise Refusal(
            f"{path}, line 1: no column {missing[0]}; {task.title} is a table with headings, separated by tabs, "
            f"with the columns {', '.join(columns)}"
        )
    for number, line in enumerate(lines, 2):
        if line:
            location, cells = f"{path}, line {number}", line.split("\t")
            if len(cells) != len(headings):
                raise Refusal(f"{location}: {len(cells)} cells; line 1 has {len(headings)} headings")
            yield dict(zip(headings, cells, strict=True)), location


def _label(label: Any, location: str, task: Task) -> float:
    if task.kind == "regression":
        expected = f"a number from {LEAST:g} to {MOST:g}"
        # float also takes digits in quotes, which are allowed, and booleans, which are not.
        with contextlib.suppress(TypeError, ValueError):
            if not isinstance(label, bool) and LEAST <= float(label) <= MOST:
                return float(label)
    elif task.kind == "choice":
        expected = "a whole number from 0 to 4"
        if type(label) is int and 0 <= label < len(task.labels):
            return label
    else:
        expected = f"one of {', '.join(task.labels)}"
        if label in task.labels:
            return task.labels.index(label)
    raise Refusal(f"{location}: label is {excerpt(label)}; it must be {expected}")


class TextData(TaskData[Example]):
    def encode(self, tokenizer: Tokenizer, max_length: int) -> tuple[list[Input], list[Input]]:
        return self._encode(tokenizer, self.train, max_length), self._encode(tokenizer, self.dev, max_length)

    def _encode(self, tokenizer: Tokenizer, examples: list[Example], max_length: int) -> list[Input]:
        labels = self._labels(examples)
        ids = token_ids(tokenizer, [text for example in examples for text in example.texts])
        inputs = []
        for example, label in zip(examples, labels, strict=True):
            first, *others = (next(ids) for _ in example.texts)
            seconds: list[list[int] | None] = [*others] or [None]
            inputs.append(Input([encode_row(tokenizer, first, each, max_length) for each in seconds], label))
        return inputs

    def _labels(self, examples: list[Example]) -> NDArray[Any]:
        kind = np.float32 if self.task.kind == "regression" else np.int64
        return np.array([example.label for example in examples], kind)

    def figures(self, outputs: Any, model: Any) -> dict[str, Any]:
        """outputs: logits (examples, labels), or values (examples, 1)."""
        labels = self._labels(self.dev)
        if self.task.kind == "regression":
            figures = correlations(outputs[:, 0], labels)
            return {"dev": figures, "interval": correlation_interval(figures["pearson"], len(labels))}
        predictions = outputs.argmax(-1)
        interval = list(wilson(int((predictions == labels).sum()), len(labels)))
        return {"dev": accuracy(predictions, labels), "interval": interval}

    def baselines(self) -> dict[str, float | None]:
        """chance: a random label. majority: the most frequent label of the training set. overlap: see `overlaps`."""
        labels = np.array([example.label for example in self.dev])
        if self.task.kind == "regression":
            return {"overlap": correlations(overlaps(self.dev)[:, 0], labels)["pearson"]}
        majority = Counter(example.label for example in self.train).most_common(1)[0][0]
        predictions = {"majority": np.full(len(labels), majority)}
        if self.task.kind == "choice":
            predictions["overlap"] = overlaps(self.dev).argmax(1)
        elif len(self.task.texts) == 2:
            train_labels = np.array([int(example.label) for example in self.train])
            rule = best_rule(overlaps(self.train)[:, 0], train_labels, len(self.task.labels))
            predictions["overlap"] = rule[_step(overlaps(self.dev)[:, 0])]
        figures = {name: accuracy(each, labels)["accuracy"] for name, each in predictions.items()}
        return {"chance": 1 / len(self.task.labels), **figures}


def overlaps(examples: Sequence[Example]) -> NDArray[np.float64]:
    """The overlap of each example's first text with each of its others, (examples, others), from 0 to 1.

    Dice's coefficient of bags of characters.
    """
    return np.array([[character_f1(example.texts[0], other) for other in example.texts[1:]] for example in examples])


def best_rule(overlap: NDArray[np.float64], labels: NDArray[np.int64], kinds: int) -> NDArray[np.int64]:
    """A label for each hundredth of the overlap, (STEPS + 1,), with the most correct `labels`, (n,).

    Each of the `kinds` labels has at most one interval of overlaps.
    """
    counts = np.zeros((kinds, STEPS + 2), np.int64)
    np.add.at(counts, (labels, _step(overlap) + 1), 1)
    below = counts.cumsum(1).tolist()
    rules = itertools.product(
        itertools.permutations(range(kinds)), itertools.combinations_with_replacement(range(STEPS + 2), kinds - 1)
    )

    def correct(rule: tuple[tuple[int, ...], tuple[int, ...]]) -> int:
        order, cuts = rule
        edges = zip(order, (0, *cuts), (*cuts, STEPS + 1), strict=True)
        return sum(below[label][stop] - below[label][start] for label, start, stop in edges)

    order, cuts = max(rules, key=correct)
    return np.repeat(order, np.diff((0, *cuts, STEPS + 1)))


def _step(overlap: NDArray[np.float64]) -> NDArray[np.int64]:
    return (overlap * STEPS).astype(np.int64)
