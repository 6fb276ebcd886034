"""The folder of a task → its training set and its dev set.

JSICK and NER may be one file with both sets. Rows of JSICK whose column `data` is `trial` are the dev set, if there are
any; rows of `test` are left out. Otherwise one group in ten is the dev set, by SHA-256. A group is the sentences of one
Wikipedia page (NER), or the pairs with the same first sentence (JSICK).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Any, TypeVar

from stages.command.refusal import Refusal
from stages.finetune.entities import EntityData, read_sentences
from stages.finetune.examples import TaskData
from stages.finetune.questions import QuestionData, read_questions
from stages.finetune.tasks import Task
from stages.finetune.texts import TextData, read_examples
from stages.handover import storage

T = TypeVar("T")
# How files are read, and the class of both sets.
KINDS: dict[str, tuple[Any, type[TaskData[Any]]]] = {
    "regression": (read_examples, TextData),
    "classification": (read_examples, TextData),
    "choice": (read_examples, TextData),
    "span": (read_questions, QuestionData),
    "tagging": (read_sentences, EntityData),
}
PARTS = ("", "train", "trial", "test")
# One group in SHARE is in the dev set.
SHARE = 10


def find_files(folder: str, task: Task) -> tuple[str, str]:
    """The files of the training set and of the dev set, which may be the same file.

    `train*.json` and `valid*.json` (or `dev*.json`) of a folder, or of its only folder `<task>*`. JSICK's names end in
    `.tsv`. JSICK and NER may be one file: `train*`, or the only file of the folder.
    """
    if not storage.is_folder(folder):
        end = task.ends[0]
        raise Refusal(f"there is no folder {folder}; it must hold train*{end} and valid*{end} of {task.title}")
    if not _matches(folder, task, "train"):
        # A copy of JGLUE's repository has datasets/jsts-v1.3, and datasets/marc_ja-v1.2 with an underscore.
        names = [each for each in storage.names(folder) if each.endswith("/")]
        folders = [name for name in names if name.replace("_", "-").startswith(task.name)]
        if len(folders) > 1:
            raise Refusal(f"{folder} has {', '.join(folders)}; name one of them")
        folder = storage.join(folder, folders[0].rstrip("/")) if folders else folder
    if task.groups and not _matches(folder, task, "valid", "dev"):
        files = _matches(folder, task, "train") or _matches(folder, task, "")
        if len(files) == 1:
            path = storage.join(folder, files[0])
            return path, path
    return _single_file(folder, task, "train"), _single_file(folder, task, "valid", "dev")


def _matches(folder: str, task: Task, *starts: str) -> list[str]:
    return [name for name in storage.names(folder) if name.startswith(starts) and name.endswith(task.ends)]


def _single_file(folder: str, task: Task, *starts: str) -> str:
    matches = _matches(folder, task, *starts)
    if len(matches) != 1:
        pattern = " or ".join(f"{start}*{task.ends[0]}" for start in starts)
        raise Refusal(
            f"{folder} has {f'{len(matches)} files' if matches else 'no file'} {pattern}; it must be the folder of one "
            f"version of {task.title}, as {task.home}"
        )
    return storage.join(folder, matches[0])


def read_data(train: str, dev: str, task: Task) -> TaskData[Any]:
    """Both sets of a task. Refuses invalid files, and a single file that leaves one set empty."""
    read, kind = KINDS[task.kind]
    if train != dev:
        return kind(task, read(train, task), read(dev, task))
    parts: dict[str, list[Any]] = {name: [] for name in PARTS}
    for example in read(train, task):
        if example.part not in parts:
            cell = f"a cell of the column data is {example.part}"
            raise Refusal(f"{train}: {cell}; it must be train, trial, test or empty")
        parts[example.part].append(example)
    rule = "The file's column data names the rows to measure on: trial."
    sets = parts["train"] + parts[""], parts["trial"]
    if not parts["trial"]:
        rule = f"Both parts are from one file: one in {SHARE} of its {task.groups}, by SHA-256, is measured on."
        sets = split((example.group, example) for example in sets[0])
    if not all(sets):
        purpose = "measure on" if sets[0] else "learn from"
        raise Refusal(f"{train} leaves no examples to {purpose}; give two files, train*{task.ends[0]} and valid*")
    return kind(task, *sets, rule)


def split(rows: Iterable[tuple[str, T]]) -> tuple[list[T], list[T]]:
    """(group, row) → training and dev rows, in the same order. Rows of one group are in the same set."""
    parts: tuple[list[T], list[T]] = [], []
    for group, row in rows:
        number = int.from_bytes(hashlib.sha256(group.encode()).digest()[:8], "big")
        parts[number % SHARE == 0].append(row)
    return parts
