"""What each of JGLUE's tasks is: its fields, its labels, how long its texts may be, and how it is scored.

Lengths, batches and fields are those of the published experiments (github.com/yahoojapan/JGLUE, fine-tuning/README.md).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Kind = Literal["regression", "classification", "choice", "span"]
CHOICES = ("choice0", "choice1", "choice2", "choice3", "choice4")
# JSTS: from nothing in common to the same meaning.
LEAST, MOST = 0.0, 5.0


@dataclass(frozen=True)
class Task:
    """`texts`: its fields that are text. `labels`: what its field `label` may say, with the model's number for each.

    `metrics`: the first one decides which of several runs is the best.
    """

    name: str
    title: str
    kind: Kind
    texts: tuple[str, ...]
    labels: tuple[str, ...]
    metrics: tuple[str, ...]
    max_length: int
    batch: int = 32


TASKS = {
    task.name: task
    for task in (
        Task("jsts", "JSTS", "regression", ("sentence1", "sentence2"), (), ("pearson", "spearman"), 128),
        Task(
            "jnli",
            "JNLI",
            "classification",
            ("sentence1", "sentence2"),
            ("entailment", "contradiction", "neutral"),
            ("accuracy",),
            128,
        ),
        Task("jcommonsenseqa", "JCommonsenseQA", "choice", ("question", *CHOICES), CHOICES, ("accuracy",), 64, 64),
        Task("marc-ja", "MARC-ja", "classification", ("sentence",), ("positive", "negative"), ("accuracy",), 512),
        Task("jsquad", "JSQuAD", "span", (), (), ("exact_match", "f1"), 384),
    )
}
