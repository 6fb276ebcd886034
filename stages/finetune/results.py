"""The figures of finished runs → which is the best, and a table for people."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Any

from stages.finetune.grid import Run
from stages.finetune.tasks import Task

HEADINGS = {
    "pearson": "Pearson",
    "spearman": "Spearman",
    "accuracy": "accuracy",
    "exact_match": "exact match",
    "f1": "F1",
    "precision": "precision",
    "recall": "recall",
}
BASELINES = {
    "chance": "chance",
    "majority": "most frequent label",
    "overlap": "overlap of characters",
    "dictionary": "dictionary of entities",
}

# Larger models on the same dev set, by the task's first metric. From the models' cards, GLOBIS's and JGLUE's README.
PUBLISHED = {
    "jsts": {
        "izumi-lab deberta-v2-small, 17.8 M parameters": 0.890,
        "LINE DistilBERT, 68 M": 0.892,
        "Tohoku bert-base char-v2, 90 M": 0.893,
    },
    "jcommonsenseqa": {
        "izumi-lab deberta-v2-small, 17.8 M parameters": 0.737,
        "LINE DistilBERT, 68 M": 0.761,
        "Tohoku bert-base char-v2, 90 M": 0.718,
    },
}


def better(task: Task, figures: dict[str, Any], than: dict[str, Any] | None) -> bool:
    """Whether figures beat others by the task's first metric; one that is undefined beats nothing but no run."""
    if than is None:
        return True
    new, old = (-2.0 if value is None else value for value in (figures[task.metrics[0]], than[task.metrics[0]]))
    return bool(new > old)


def best_run(task: Task, recorded: dict[Run, dict[str, Any]]) -> Run | None:
    """The best of the recorded runs, the earliest of equals; None where there is none."""
    best: Run | None = None
    for run, record in recorded.items():
        if better(task, record["dev"], recorded[best]["dev"] if best else None):
            best = run
    return best


def table(
    task: Task,
    recorded: dict[Run, dict[str, Any]],
    best: Run,
    source: str,
    baselines: dict[str, float | None],
    untrained: dict[str, Any] | None = None,
) -> str:
    """The runs as a table of Markdown; of several seeds one with their means; and the best run beside the baselines.

    untrained: the record of the run without pretraining.
    """
    named = [HEADINGS[name] for name in task.metrics]
    rows = [
        [f"{run.learning_rate:g}", str(run.epochs), str(run.seed), *_figures(task, record), "best" * (run == best)]
        for run, record in recorded.items()
    ]
    lines = [f"# {task.title}", "", source, "", *_markdown(["learning rate", "epochs", "seed", *named, ""], rows)]
    seeds = len({run.seed for run in recorded})
    if seeds > 1:
        lines += ["", f"Mean and standard deviation over {seeds} seeds:", ""]
        groups: dict[tuple[float, int], list[dict[str, Any]]] = {}
        for run, record in recorded.items():
            groups.setdefault((run.learning_rate, run.epochs), []).append(record["dev"])
        means = [
            [f"{rate:g}", str(epochs), *(_mean([figures[name] for figures in group]) for name in task.metrics)]
            for (rate, epochs), group in groups.items()
        ]
        lines += _markdown(["learning rate", "epochs", *named], means)
    if len(recorded) > 1:
        note = "The best run was chosen by the same examples that it is measured on: on others expect less."
        lines += ["", note]
    chief = task.metrics[0]
    rivals = {"best run": recorded[best], "without pretraining": untrained}
    compared = [
        [name, _shown(record["dev"][chief]), _range(record["interval"])] for name, record in rivals.items() if record
    ]
    compared += [[BASELINES[name], _shown(figure), ""] for name, figure in baselines.items()]
    published = PUBLISHED.get(task.name, {})
    compared += [[name, f"{figure:.3f}", ""] for name, figure in published.items()]
    heading = f"The best run beside what needs no pretraining{', and published larger models' * bool(published)}:"
    lines += ["", heading, "", *_markdown(["", HEADINGS[chief], "95 % interval"], compared)]
    types = recorded[best].get("types")
    if types:
        each = [
            [name, str(of["entities"]), *(_shown(of[metric]) for metric in task.metrics)] for name, of in types.items()
        ]
        lines += ["", "The best run by type:", "", *_markdown(["type", "entities", *named], each)]
    return "\n".join(lines) + "\n"


def _figures(task: Task, record: dict[str, Any]) -> list[str]:
    return [_shown(record["dev"][name]) for name in task.metrics]


def _shown(value: float | None) -> str:
    return "undefined" if value is None else f"{value:.4f}"


def _range(interval: list[float] | None) -> str:
    return "undefined" if interval is None else f"{interval[0]:.4f} to {interval[1]:.4f}"


def _mean(values: Sequence[float | None]) -> str:
    numbers = [value for value in values if value is not None]
    if len(numbers) < len(values):
        return "undefined"
    return f"{statistics.mean(numbers):.4f} ± {statistics.stdev(numbers):.4f}"


def _markdown(headings: list[str], rows: list[list[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(headings, *rows, strict=True)]
    rule = [("-" * max(width, 1)) for width in widths]
    return [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |"
        for row in (headings, rule, *rows)
    ]
