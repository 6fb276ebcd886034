"""The rows of a run → progress.svg and progress.png: losses, accuracies and the learning rate over the steps."""

from __future__ import annotations

import io
import time

from stages.handover import storage
from stages.handover.storage import whole_file
from stages.train.metrics import HELD_OUT, TRAIN, Row

FILES = ("progress.svg", "progress.png")
# The least number of seconds between two drawings. One takes about a second.
INTERVAL = 60.0
# Title and column of each panel: of training and held-out rows, then of training rows alone.
PANELS = (
    ("masked LM loss", "masked_lm_loss"),
    ("masked LM accuracy", "masked_lm_accuracy"),
    ("sentence order loss", "sentence_order_loss"),
    ("sentence order accuracy", "sentence_order_accuracy"),
)
TRAIN_PANELS = (("learning rate", "learning_rate"), ("gradient norm", "gradient_norm"))
COLOURS = {TRAIN: "#9db4c8", HELD_OUT: "#b03a2e"}
# Points of a curve. More are not visible.
POINTS = 1000


class Plot:
    """Draws OUT/progress.* at intervals while the rows grow."""

    def __init__(self, out: str, title: str) -> None:
        self._out, self._title = out, title
        self._last = time.monotonic()

    def draw(self, rows: list[Row], now: bool = False) -> None:
        """Draw if INTERVAL has passed since the last drawing, or `now`."""
        if rows and (now or time.monotonic() - self._last >= INTERVAL):
            draw(rows, self._out, self._title)
            self._last = time.monotonic()


def draw(rows: list[Row], out: str, title: str) -> None:
    """Write both pictures, whole or not at all. Equal rows give equal bytes."""
    # Imported late: it takes half a second, and only one of several processes draws.
    import matplotlib

    matplotlib.use("agg")
    from matplotlib.figure import Figure

    def curve(part: str, column: str) -> tuple[list[int], list[float]]:
        points = [(row["step"], row[column]) for row in rows if row["of"] == part]
        points = points[:: max(1, len(points) // POINTS)]
        return [step for step, _ in points], [value for _, value in points]

    with matplotlib.rc_context({"svg.hashsalt": title, "axes.spines.top": False, "axes.spines.right": False}):
        figure = Figure(figsize=(10, 8))
        # Fixed margins take half a second; an automatic layout takes two.
        figure.subplots_adjust(left=0.07, right=0.98, top=0.92, bottom=0.06, hspace=0.32, wspace=0.16)
        figure.suptitle(title)
        axes = figure.subplots(3, 2).flat
        for panel, (label, column) in zip(axes, PANELS, strict=False):
            for part, colour in COLOURS.items():
                steps, values = curve(part, column)
                marker = "o" if part == HELD_OUT and len(steps) < 50 else ""
                panel.plot(steps, values, color=colour, marker=marker, markersize=3, label=part.replace("_", " "))
            panel.set_title(label, fontsize=10)
        for panel, (label, column) in zip(axes[len(PANELS) :], TRAIN_PANELS, strict=True):
            panel.plot(*curve(TRAIN, column), color="#4a6b8a")
            panel.set_title(label, fontsize=10)
            panel.set_xlabel("step")
        for panel in axes:
            panel.grid(alpha=0.25)
        axes[0].legend(frameon=False, fontsize=9)
        for name in FILES:
            picture = io.BytesIO()
            kind = name.rpartition(".")[2]
            figure.savefig(
                picture, format=kind, dpi=110, metadata={"Date": None} if kind == "svg" else {"Software": None}
            )
            with whole_file(storage.join(out, name)) as stream:
                stream.write(picture.getvalue())
