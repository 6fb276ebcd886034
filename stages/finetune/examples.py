"""The two sets of a task, and the checks of the fields in its files.

A refusal starts with a location: `FILE, line 2`, or `FILE, data[0].paragraphs[2]`.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any, Generic, TypeVar

from stages.command.refusal import Refusal
from stages.finetune.inputs import Input, Tokenizer
from stages.finetune.tasks import Task

E = TypeVar("E")


class TaskData(ABC, Generic[E]):
    """The training set and the dev set of a task: what one kind of task does with its examples.

    `rule`: a sentence for the results on how one file was split; "" for two files.
    """

    def __init__(self, task: Task, train: list[E], dev: list[E], rule: str = "") -> None:
        self.task, self.train, self.dev, self.rule = task, train, dev, rule

    @abstractmethod
    def baselines(self) -> dict[str, float | None]:
        """Figures that need no model: name → the task's first metric on the dev set, None where it is undefined."""

    @abstractmethod
    def encode(self, tokenizer: Tokenizer, max_length: int) -> tuple[list[Input], list[Input]]:
        """Both sets in rows of at most `max_length` tokens."""

    @abstractmethod
    def figures(self, outputs: Any, model: Any) -> dict[str, Any]:
        """The figures of a run's record, from the model's outputs for the rows of the dev set that `encode` returned.

        `dev`: name → figure, from 0 to 1, of a correlation from -1; `interval`: [low, high] of the first one, or None.
        """


def objects(entries: list[Any], prefix: str) -> Iterator[tuple[dict[str, Any], str]]:
    """Each object of a list, with its location: `prefix` and an index."""
    for number, entry in enumerate(entries):
        location = f"{prefix}[{number}]"
        if not isinstance(entry, dict):
            raise Refusal(f"{location}: must be an object, and is {excerpt(entry)}")
        yield entry, location


def field_objects(value: dict[str, Any], name: str, prefix: str) -> Iterator[tuple[dict[str, Any], str]]:
    """Each object of the list `name` of a JSON object, with its location: `prefix`, the name and an index."""
    entries = value.get(name)
    if not isinstance(entries, list):
        raise Refusal(f"{prefix}{name}: must be a list of objects, and is {excerpt(entries)}")
    return objects(entries, prefix + name)


def field_text(value: dict[str, Any], name: str, location: str) -> str:
    """The text `name` of a JSON object, which is not empty."""
    text = value.get(name)
    if not isinstance(text, str) or not text:
        raise Refusal(f"{location}: {name} must be a text, and is {excerpt(text)}")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise Refusal(f"{location}: {name} has half of a surrogate pair at character {error.start + 1}")
    return text


def excerpt(value: Any) -> str:
    """A JSON value in at most 40 characters."""
    text = "missing" if value is None else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 40 else text[:39] + "…"
