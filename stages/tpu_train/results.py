"""Evaluations and losses of a run ↔ eval_results.jsonl, eval_results.txt and train_loss.tsv."""

import json
from typing import List, Tuple

from stages.command.refusal import Refusal
from stages.formats.pretraining import METRICS, Row
from stages.handover import storage

EVALUATIONS = "eval_results.jsonl"
PUBLISHED = "eval_results.txt"
LOSSES = "train_loss.tsv"


def read_evaluations(out: str) -> List[Row]:
    """The rows of OUT/eval_results.jsonl; empty without the file. ``Refusal`` if it is damaged."""
    if EVALUATIONS not in storage.names(out):
        return []
    path = storage.join(out, EVALUATIONS)
    with storage.fetched(path) as local, open(local, encoding="utf-8") as stream:
        try:
            return [json.loads(line) for line in stream]
        except ValueError as error:
            raise Refusal("%s is damaged (%s); remove it, and the checkpoints are evaluated again" % (path, error))


def write_evaluations(out: str, rows: List[Row]) -> None:
    """Write all rows as JSON lines, and as the ``name = value`` lines of Google's program."""
    with storage.whole_file(storage.join(out, EVALUATIONS), "w") as stream:
        stream.writelines(json.dumps(row) + "\n" for row in rows)
    with storage.whole_file(storage.join(out, PUBLISHED), "w") as stream:
        for row in rows:
            stream.write("global_step = %s\n" % row["step"])
            stream.writelines("%s = %s\n" % (name, row[name]) for name in METRICS)


def read_losses(out: str, last_step: int) -> List[Tuple[int, float]]:
    """The rows (step, loss) of OUT/train_loss.tsv up to ``last_step``, from which training resumes."""
    if LOSSES not in storage.names(out):
        return []
    with storage.fetched(storage.join(out, LOSSES)) as local, open(local, encoding="utf-8") as stream:
        next(stream)
        rows = [line.split("\t") for line in stream]
    return [(int(step), float(loss)) for step, loss in rows if int(step) <= last_step]


def write_losses(out: str, rows: List[Tuple[int, float]]) -> None:
    with storage.whole_file(storage.join(out, LOSSES), "w") as stream:
        stream.write("step\tloss\n")
        stream.writelines("%d\t%.6f\n" % row for row in rows)
