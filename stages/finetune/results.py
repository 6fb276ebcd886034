"""The records of finished runs → a table in Markdown."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from stages.finetune.runs import Run
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

# The task's first metric of larger models on the same dev set: from their model cards, GLOBIS's and JGLUE's README.
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


def table(
    task: Task,
    records: dict[Run, dict[str, Any]],
    best: Run,
    source: str,
    baselines: dict[str, float | None],
    untrained: dict[str, Any] | None = None,
) -> str:
    """All runs, the means over several seeds, the best run beside the baselines, and its figures by type, in Markdown.

    untrained: the record of the run without pretraining.
    """
    metric, headings = task.metrics[0], [HEADINGS[name] for name in task.metrics]
    rows, groups = [], defaultdict(list)
    for run, record in records.items():
        settings = (f"{run.learning_rate:g}", str(run.epochs))
        rows.append([*settings, str(run.seed), *_figures(task, record["dev"]), "best" * (run == best)])
        groups[settings].append(record["dev"])
    lines = [f"# {task.title}", "", source, "", *_markdown(["learning rate", "epochs", "seed", *headings, ""], rows)]
    seeds = len({run.seed for run in records})
    if seeds > 1:
        rows = [
            [*settings, *(_mean([figures[name] for figures in group]) for name in task.metrics)]
            for settings, group in groups.items()
        ]
        lines += ["", f"Mean and standard deviation over {seeds} seeds:", ""]
        lines += _markdown(["learning rate", "epochs", *headings], rows)
    if len(records) > 1:
        note = "The best run was chosen by the same examples that it is measured on: on others expect less."
        lines += ["", note]
    runs = {"best run": records[best], "without pretraining": untrained}
    rows = [[name, _figure(run["dev"][metric]), _interval(run["interval"])] for name, run in runs.items() if run]
    rows += [[BASELINES[name], _figure(figure), ""] for name, figure in baselines.items()]
    published = PUBLISHED.get(task.name, {})
    rows += [[name, f"{figure:.3f}", ""] for name, figure in published.items()]
    heading = f"The best run beside what needs no pretraining{', and published larger models' * bool(published)}:"
    lines += ["", heading, "", *_markdown(["", HEADINGS[metric], "95 % interval"], rows)]
    types = records[best].get("types")
    if types:
        rows = [[name, str(figures["entities"]), *_figures(task, figures)] for name, figures in types.items()]
        lines += ["", "The best run by type:", "", *_markdown(["type", "entities", *headings], rows)]
    return "\n".join(lines) + "\n"


def _figures(task: Task, figures: dict[str, Any]) -> list[str]:
    return [_figure(figures[name]) for name in task.metrics]


def _figure(value: float | None) -> str:
    return "undefined" if value is None else f"{value:.4f}"


def _interval(interval: list[float] | None) -> str:
    return "undefined" if interval is None else f"{interval[0]:.4f} to {interval[1]:.4f}"


def _mean(values: Sequence[float | None]) -> str:
    numbers = [value for value in values if value is not None]
    if len(numbers) < len(values):
        return "undefined"
    return f"{statistics.mean(numbers):.4f} ± {statistics.stdev(numbers):.4f}"


def _markdown(headings: list[str], rows: list[list[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(headings, *rows, strict=True)]
    rule = ["-" * max(width, 1) for width in widths]
    return [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |"
        for row in (headings, rule, *rows)
    ]
