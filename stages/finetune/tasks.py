"""The tasks: files, fields, labels, lengths, batches and metrics.

Lengths, batches and fields of JGLUE's tasks are those of the published experiments (github.com/yahoojapan/JGLUE,
fine-tuning/README.md).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Kind = Literal["regression", "classification", "choice", "span", "tagging"]
CHOICES = ("choice0", "choice1", "choice2", "choice3", "choice4")
NLI_LABELS = ("entailment", "contradiction", "neutral")
# JSTS: from nothing in common to the same meaning.
LEAST, MOST = 0.0, 5.0


@dataclass(frozen=True)
class Task:
    """`texts`: the names of the text fields. `labels`: the values of the label field; the index is the number.

    The labels of `ner` are those of the training data. `metrics`: the first one chooses the best run. `ends`: the ends
    of the file names. `groups`: examples that stay together where one file holds both sets; "" if it may not.
    """

    name: str
    title: str
    kind: Kind
    texts: tuple[str, ...]
    labels: tuple[str, ...]
    metrics: tuple[str, ...]
    max_length: int
    batch: int = 32
    label: str = "label"
    ends: tuple[str, ...] = (".json", ".jsonl")
    groups: str = ""
    home: str = "github.com/yahoojapan/JGLUE has it under datasets"


PAIR = ("sentence1", "sentence2")
TASKS = {
    task.name: task
    for task in (
        Task("jsts", "JSTS", "regression", PAIR, (), ("pearson", "spearman"), 128),
        Task("jnli", "JNLI", "classification", PAIR, NLI_LABELS, ("accuracy",), 128),
        Task("jcommonsenseqa", "JCommonsenseQA", "choice", ("question", *CHOICES), CHOICES, ("accuracy",), 64, 64),
        Task("marc-ja", "MARC-ja", "classification", ("sentence",), ("positive", "negative"), ("accuracy",), 512),
        Task("jsquad", "JSQuAD", "span", (), (), ("exact_match", "f1"), 384),
        Task(
            "jsick", "JSICK", "classification", ("sentence_A_Ja", "sentence_B_Ja"), NLI_LABELS, ("accuracy",), 128,
            label="entailment_label_Ja", ends=(".tsv",), groups="first sentences",
            home="github.com/verypluming/JSICK has it under jsick",
        ),
        Task(
            "ner", "NER", "tagging", ("text",), (), ("f1", "precision", "recall"), 512,
            ends=(".json",), groups="pages",
            home="github.com/stockmarkteam/ner-wikipedia-dataset has it",
        ),
    )
}  # fmt: skip
