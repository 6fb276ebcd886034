"""The rows of a run, of training and of held-out examples → metrics.jsonl, TensorBoard's events, the plot."""

from __future__ import annotations

import io
import json
import os
import time
import warnings
from typing import Any

from stages.command.refusal import Refusal
from stages.handover import storage
from stages.handover.storage import whole_file

FILE, EVENTS = "metrics.jsonl", "events"
TRAIN, HELD_OUT = "train", "held_out"
# The least number of seconds between two drawings of the plot. One takes about a second.
INTERVAL = 60.0
# File → what its metadata leave out, so that equal rows give equal bytes.
PICTURES: dict[str, dict[str, None]] = {"progress.svg": {"Date": None}, "progress.png": {"Software": None}}
BOTH, ALONE = {TRAIN: "#9db4c8", HELD_OUT: "#b03a2e"}, {TRAIN: "#4a6b8a"}
# Title and column of each panel, and the colours of the rows in it.
PANELS = (
    ("masked LM loss", "masked_lm_loss", BOTH),
    ("masked LM accuracy", "masked_lm_accuracy", BOTH),
    ("sentence order loss", "sentence_order_loss", BOTH),
    ("sentence order accuracy", "sentence_order_accuracy", BOTH),
    ("learning rate", "learning_rate", ALONE),
    ("gradient norm", "gradient_norm", ALONE),
)
# Points of a curve. More are not visible.
POINTS = 1000
Row = dict[str, Any]


class Metrics:
    """The rows of a run up to `step`.

    On a disk each row is written immediately. In a bucket the file is written at checkpoints, and there are no events:
    their writer appends.
    """

    def __init__(self, out: str, step: int, title: str) -> None:
        self._out, self._path, self._title = out, storage.join(out, FILE), title
        self.rows = [row for row in _read(out) if row["step"] <= step]
        self.write()
        self._drawn = time.monotonic()
        self._events: Any = None
        if not storage.written_once(out):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                from torch.utils.tensorboard import SummaryWriter
            # TensorBoard hides events after the checkpoint. They are of an interrupted run.
            self._events = SummaryWriter(os.path.join(out, EVENTS), purge_step=step + 1)

    def add(self, row: Row) -> None:
        self.rows.append(row)
        if self._events:
            with open(self._path, "a", encoding="utf-8") as stream:
                stream.write(json.dumps(row) + "\n")
            for name in sorted(set(row) - {"of", "step", "seconds"}):
                self._events.add_scalar(f"{name}/{row['of']}", row[name], row["step"], new_style=True)
            self._events.flush()
        self.draw()

    def write(self) -> None:
        """Write all rows, whole or not at all."""
        with whole_file(self._path, "w") as stream:
            stream.writelines(json.dumps(row) + "\n" for row in self.rows)

    def draw(self, now: bool = False) -> None:
        """Draw the plot if INTERVAL has passed since the last drawing, or `now`."""
        if self.rows and (now or time.monotonic() - self._drawn >= INTERVAL):
            _draw(self.rows, self._out, self._title)
            self._drawn = time.monotonic()

    def held_out(self) -> list[Row]:
        """The evaluations."""
        return [row for row in self.rows if row["of"] == HELD_OUT]


def _read(out: str) -> list[Row]:
    """The complete rows of the file. A killed run may leave a last line without its end. Refusal for a damaged line."""
    if FILE not in storage.names(out):
        return []
    path = storage.join(out, FILE)
    rows: list[Row] = []
    with storage.reading(path) as stream:
        lines = stream.read().split(b"\n")[:-1]
    for number, line in enumerate(lines, 1):
        try:
            row = json.loads(line)
            rows.append({**row, "step": int(row["step"]), "of": str(row["of"])})
        except (ValueError, TypeError, LookupError) as error:
            raise Refusal(f"{path}, line {number} is damaged ({error}); remove this file, and only its curve is lost")
    return rows


def _draw(rows: list[Row], out: str, title: str) -> None:
    """Write both pictures, whole or not at all. Equal rows give equal bytes."""
    # Imported late: it takes half a second, and only one of several processes draws.
    import matplotlib

    matplotlib.use("agg")
    from matplotlib.figure import Figure

    with matplotlib.rc_context({"svg.hashsalt": title, "axes.spines.top": False, "axes.spines.right": False}):
        figure = Figure(figsize=(10, 8))
        # Fixed margins take half a second; an automatic layout takes two.
        figure.subplots_adjust(left=0.07, right=0.98, top=0.92, bottom=0.06, hspace=0.32, wspace=0.16)
        figure.suptitle(title)
        axes = figure.subplots(3, 2).flat
        for panel, (label, column, colours) in zip(axes, PANELS, strict=True):
            for part, colour in colours.items():
                points = [(row["step"], row[column]) for row in rows if row["of"] == part]
                points = points[:: max(1, len(points) // POINTS)]
                steps, values = [step for step, _ in points], [value for _, value in points]
                marker = "o" if part == HELD_OUT and len(points) < 50 else ""
                panel.plot(steps, values, color=colour, marker=marker, markersize=3, label=part.replace("_", " "))
            panel.set_title(label, fontsize=10)
            panel.grid(alpha=0.25)
            if colours is ALONE:
                panel.set_xlabel("step")
        axes[0].legend(frameon=False, fontsize=9)
        for name, metadata in PICTURES.items():
            picture = io.BytesIO()
            figure.savefig(picture, format=name.rpartition(".")[2], dpi=110, metadata=metadata)
            with whole_file(storage.join(out, name)) as stream:
                stream.write(picture.getvalue())
