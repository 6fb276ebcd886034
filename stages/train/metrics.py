"""Sums over batches → rows of metrics.jsonl: losses and accuracies, of training and of held-out examples."""

from __future__ import annotations

import json
import os
from typing import IO, Any

from stages.command.refusal import Refusal
from stages.handover import storage
from stages.handover.storage import whole_file

FILE = "metrics.jsonl"
TRAIN, HELD_OUT = "train", "held_out"
Row = dict[str, Any]
# The numbers that are summed over batches, in this order.
SUMS = ("masked_lm", "weights", "correct_masked", "order", "correct_order", "examples")


def means(sums: list[float]) -> dict[str, float]:
    """SUMS → masked LM loss and accuracy per masked token, sentence order loss and accuracy per example."""
    named = dict(zip(SUMS, sums, strict=True))
    masked, examples = max(named["weights"], 1e-5), max(named["examples"], 1.0)
    return {
        "masked_lm_accuracy": named["correct_masked"] / masked,
        "masked_lm_loss": named["masked_lm"] / masked,
        "sentence_order_accuracy": named["correct_order"] / examples,
        "sentence_order_loss": named["order"] / examples,
    }


class Metrics:
    """The rows of a run up to `step`, in memory and in OUT/metrics.jsonl.

    On a disk each row is appended immediately. In a bucket the file is written at checkpoints.
    """

    def __init__(self, out: str, step: int) -> None:
        self._path = storage.join(out, FILE)
        self._written_once = storage.written_once(out)
        self._stream: IO[str] | None = None
        self.rows = [row for row in _read(out) if row["step"] <= step]
        self.write()

    def add(self, row: Row) -> None:
        self.rows.append(row)
        if self._written_once:
            return
        if self._stream is None:
            self._stream = open(self._path, "a", encoding="utf-8")
        self._stream.write(json.dumps(row) + "\n")
        self._stream.flush()

    def write(self) -> None:
        """Write all rows, whole or not at all."""
        self.close()
        with whole_file(self._path, "w") as stream:
            stream.writelines(json.dumps(row) + "\n" for row in self.rows)

    def held_out(self) -> list[Row]:
        """The evaluations."""
        return [row for row in self.rows if row["of"] == HELD_OUT]

    def close(self) -> None:
        if self._stream is not None:
            os.fsync(self._stream.fileno())
            self._stream.close()
            self._stream = None


def _read(out: str) -> list[Row]:
    """The complete rows of the file. A killed run may leave a last line without its end. Refusal for a damaged line."""
    if FILE not in storage.names(out):
        return []
    path = storage.join(out, FILE)
    rows: list[Row] = []
    with storage.reading(path) as stream:
        lines = stream.read().splitlines(keepends=True)
    for number, line in enumerate(lines, 1):
        if not line.endswith(b"\n"):
            break
        try:
            row = json.loads(line)
            rows.append({**row, "step": int(row["step"]), "of": str(row["of"])})
        except (ValueError, TypeError, LookupError) as error:
            raise Refusal(f"{path}, line {number} is damaged ({error}); remove this file, and only its curve is lost")
    return rows
