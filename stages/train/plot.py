"""The rows of a run → progress.svg and progress.png: losses, accuracies and the learning rate over the steps."""

from __future__ import annotations

import io
import time

from stages.handover import storage
from stages.handover.storage import whole_file
from stages.train.metrics import HELD_OUT, TRAIN, Row

FILES = ("progress.svg", "progress.png")
# Seconds from one drawing to the next, at least: one takes about a second.
EVERY = 60.0
PANELS = (
    ("masked LM loss", "masked_lm_loss"),
    ("masked LM accuracy", "masked_lm_accuracy"),
    ("sentence order loss", "sentence_order_loss"),
    ("sentence order accuracy", "sentence_order_accuracy"),
)
COLOURS = {TRAIN: "#9db4c8", HELD_OUT: "#b03a2e"}
# Points of a curve: more cannot be seen.
POINTS = 1000


class Plot:
    """Draws OUT/progress.* from time to time while the rows grow."""

    def __init__(self, out: str, title: str) -> None:
        self._out, self._title = out, title
        self._last = time.monotonic()

    def draw(self, rows: list[Row], now: bool = False) -> None:
        """Draw, unless that was done less than EVERY seconds ago; `now`: in any case."""
        if rows and (now or time.monotonic() - self._last >= EVERY):
            draw(rows, self._out, self._title)
            self._last = time.monotonic()


def draw(rows: list[Row], out: str, title: str) -> None:
    """Write both pictures, whole or not at all; of the same rows the same bytes."""
    # Loaded late: it takes half a second, and one process of several draws.
    import matplotlib

    matplotlib.use("agg")
    from matplotlib.figure import Figure

    with matplotlib.rc_context({"svg.hashsalt": title, "axes.spines.top": False, "axes.spines.right": False}):
        figure = Figure(figsize=(10, 8))
        # Half a second; a layout that is found by trying takes two.
        figure.subplots_adjust(left=0.07, right=0.98, top=0.92, bottom=0.06, hspace=0.32, wspace=0.16)
        figure.suptitle(title)
        axes = figure.subplots(3, 2).flat
        for panel, (label, name) in zip(axes, PANELS, strict=False):
            for of in (TRAIN, HELD_OUT):
                points = [(row["step"], row[name]) for row in rows if row["of"] == of]
                points = points[:: max(1, len(points) // POINTS)]
                marker = "o" if of == HELD_OUT and len(points) < 50 else ""
                line = {"color": COLOURS[of], "marker": marker, "markersize": 3, "label": of.replace("_", " ")}
                panel.plot([step for step, _ in points], [value for _, value in points], **line)
            panel.set_title(label, fontsize=10)
        for panel, (label, name) in zip(
            axes[len(PANELS) :], (("learning rate", "learning_rate"), ("gradient norm", "gradient_norm")), strict=True
        ):
            points = [(row["step"], row[name]) for row in rows if row["of"] == TRAIN]
            points = points[:: max(1, len(points) // POINTS)]
            panel.plot([step for step, _ in points], [value for _, value in points], color="#4a6b8a")
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
