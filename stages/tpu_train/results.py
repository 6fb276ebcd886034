"""Evaluations and losses of a run ↔ eval_results.jsonl, eval_results.txt and train_loss.tsv, in OUT or its copy."""

import json
from typing import List, Tuple

from stages.command.refusal import Refusal
from stages.formats.pretraining import METRICS, Row
from stages.handover import storage
from stages.tpu_train.files import LOSSES

EVALUATIONS = "eval_results.jsonl"
PUBLISHED = "eval_results.txt"


def read_evaluations(folder: str, out: str) -> List[Row]:
    """The rows of eval_results.jsonl; empty without the file. ``Refusal`` if it is damaged."""
    try:
        return [json.loads(line) for line in _lines(folder, EVALUATIONS)]
    except ValueError as error:
        path = storage.join(out, EVALUATIONS)
        raise Refusal("%s is damaged (%s); remove it, and the checkpoints are evaluated again" % (path, error))


def write_evaluations(folder: str, rows: List[Row]) -> None:
    """Write all rows as JSON lines, and as the ``name = value`` lines of Google's program."""
    with storage.whole_file(storage.join(folder, EVALUATIONS), "w") as stream:
        stream.writelines(json.dumps(row) + "\n" for row in rows)
    with storage.whole_file(storage.join(folder, PUBLISHED), "w") as stream:
        for row in rows:
            stream.write("global_step = %s\n" % row["step"])
            stream.writelines("%s = %s\n" % (name, row[name]) for name in METRICS)


def read_losses(folder: str, last_step: int) -> List[Tuple[int, float]]:
    """The rows (step, loss) of train_loss.tsv up to ``last_step``, from which training resumes."""
    rows = [line.split("\t") for line in _lines(folder, LOSSES)[1:]]
    return [(int(step), float(loss)) for step, loss in rows if int(step) <= last_step]


def write_losses(folder: str, rows: List[Tuple[int, float]]) -> None:
    with storage.whole_file(storage.join(folder, LOSSES), "w") as stream:
        stream.write("step\tloss\n")
        stream.writelines("%d\t%.6f\n" % row for row in rows)


def _lines(folder: str, name: str) -> List[str]:
    """The lines of a file; none without the file."""
    if name not in storage.names(folder):
        return []
    with storage.reading(storage.join(folder, name)) as stream:
        return stream.read().decode().splitlines()
