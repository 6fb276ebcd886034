"""The files of a task → the training set and the dev set.

JSICK and NER may be one file with both sets. Rows of JSICK whose column `data` is `trial` are the dev set, if there are
any; rows of `test` are left out. Otherwise one group in ten is the dev set, by SHA-256. A group is the sentences of one
Wikipedia page (NER), or the pairs with the same first sentence (JSICK).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import NamedTuple, TypeVar

from stages.command.refusal import Refusal
from stages.finetune.examples import (
    Example,
    Questions,
    Sentence,
    read_examples,
    read_questions,
    read_sentences,
    read_table,
)
from stages.finetune.files import DataFiles
from stages.finetune.tasks import Task

Examples = list[Example] | Questions | list[Sentence]
Row = TypeVar("Row")
# One group in SHARE is in the dev set.
SHARE = 10


class Parts(NamedTuple):
    """`rule`: a sentence for the results on how one file was split; "" for two files."""

    train: Examples
    dev: Examples
    rule: str = ""


def read_parts(data: DataFiles, task: Task) -> Parts:
    """Both sets of a task. Refuses invalid files, and a single file that leaves one set empty."""
    if data.train != data.dev:
        return Parts(_read(data.train, task), _read(data.dev, task))
    if task.kind == "tagging":
        train, dev = split((sentence.page, sentence) for sentence in read_sentences(data.train))
        parts = Parts(train, dev, _rule("pages"))
    else:
        parts = _split_table(data.train, task)
    if not len(parts.train) or not len(parts.dev):
        purpose = "measure on" if len(parts.train) else "learn from"
        raise Refusal(f"{data.train} leaves no examples to {purpose}; give two files, train*{task.ends[0]} and valid*")
    return parts


def _read(path: str, task: Task) -> Examples:
    if task.kind == "span":
        return read_questions(path)
    if task.kind == "tagging":
        return read_sentences(path)
    if task.ends == (".tsv",):
        return [example for example, _ in read_table(path, task)]
    return read_examples(path, task)


def _split_table(path: str, task: Task) -> Parts:
    rows: dict[str, list[Example]] = {"": [], "train": [], "trial": [], "test": []}
    for example, part in read_table(path, task):
        if part not in rows:
            raise Refusal(f"{path}: a cell of the column data is {part}; it must be train, trial, test or empty")
        rows[part].append(example)
    train = rows["train"] + rows[""]
    if rows["trial"]:
        return Parts(train, rows["trial"], "The file's column data names the rows to measure on: trial.")
    return Parts(*split((example.texts[0], example) for example in train), _rule("first sentences"))


def split(rows: Iterable[tuple[str, Row]]) -> tuple[list[Row], list[Row]]:
    """(group, row) → training and dev rows, in the same order. Rows of one group are in the same set."""
    parts: tuple[list[Row], list[Row]] = [], []
    for group, row in rows:
        number = int.from_bytes(hashlib.sha256(group.encode()).digest()[:8], "big")
        parts[number % SHARE == 0].append(row)
    return parts


def _rule(groups: str) -> str:
    return f"Both parts are from one file: one in {SHARE} of its {groups}, by SHA-256, is measured on."
