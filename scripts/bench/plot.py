"""Rows → one picture: how many times faster than its yardstick each thing is, and how far each limit is used up."""

from collections.abc import Sequence
from pathlib import Path

import matplotlib

matplotlib.use("Agg")

from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from scripts.bench.rows import Row
from scripts.bench.table import short

COLOURS = {
    "words": "#0072B2",
    "tokenizer": "#009E73",
    "tfrecords": "#E69F00",
    "corpus": "#CC79A7",
    "vocab": "#56B4E9",
    "records": "#D55E00",
    "training": "#F0E442",
}
INK, FAINT, MISSED = "#222222", "#999999", "#C00000"


def plot(rows: Sequence[Row], title: str, below: str, out: Path) -> list[Path]:
    """Write `speed.png` and `speed.svg` into the folder; gives their paths."""
    ratios = [row for row in rows if row.ratio and not (row.bar and row.bar.of_value)]
    limits = [row for row in rows if row.bar and row.bar.of_value]
    heights = [max(1, len(part)) for part in (ratios, limits) if part]
    figure, axes = plt.subplots(
        len(heights), 1, squeeze=False, height_ratios=heights, figsize=(13.5, 2 + 0.47 * sum(heights)),
        layout="constrained",
    )  # fmt: skip
    figure.suptitle(title, x=0.01, ha="left", fontsize=13, weight="bold", color=INK)
    panels = [axis for (axis,) in axes]
    if ratios:
        _ratios(panels.pop(0), ratios)
    if limits:
        _limits(panels.pop(0), limits)
    figure.supxlabel(below, x=0.01, ha="left", fontsize=8, color=FAINT)
    paths = [out / f"speed.{kind}" for kind in ("png", "svg")]
    for path in paths:
        figure.savefig(path, dpi=150)
    plt.close(figure)
    return paths


def _ratios(axis: Axes, rows: Sequence[Row]) -> None:
    axis.set_xscale("log")
    values = [row.ratio or 1 for row in rows]
    for place, (row, ratio) in enumerate(zip(rows, values, strict=True)):
        assert row.yardstick is not None
        colour = MISSED if row.holds is False else INK
        axis.barh(place, ratio - 1, left=1, height=0.62, color=COLOURS[row.group])
        # Behind the bar's end, and behind the mark where that is just behind it.
        reach = max(ratio, 1)
        if row.bar:
            axis.plot([row.bar.number] * 2, [place - 0.42, place + 0.42], color=INK, linewidth=2)
            reach = row.bar.number if reach < row.bar.number < 2.2 * reach else reach
        axis.text(reach * 1.06, place, f"{short(ratio)} ×", va="center", fontsize=10, weight="bold", color=colour)
        figures = f"{short(row.ours.value)}  against  {short(row.yardstick.value)}"
        _beside(axis, place, f"{figures}  {row.unit}", colour)
    axis.axvline(1, color=INK, linewidth=1)
    most = max(2, *values, *(row.bar.number for row in rows if row.bar))
    axis.set_xlim(min(0.9, *values), most**1.15)
    ticks = [power for power in (1, 10, 100, 1000) if power <= most]
    axis.set_xticks(ticks, [f"{tick} ×" for tick in ticks])
    axis.minorticks_off()
    axis.set_title("how many times its yardstick (log scale)", loc="left", fontsize=10, color=INK)
    marks = [(INK, "what it must reach"), *[(MISSED, "missed")] * any(row.holds is False for row in rows)]
    handles = [
        Line2D([], [], color=colour, marker="|", markersize=11, markeredgewidth=2, linestyle="none", label=label)
        for colour, label in marks
    ]
    axis.legend(handles=handles, ncols=2, loc="lower right", bbox_to_anchor=(1, 0.985), frameon=False, fontsize=9)
    _name(axis, rows, [f"{row.group}: {row.name}\nagainst {row.yardstick_name}" for row in rows])


def _limits(axis: Axes, rows: Sequence[Row]) -> None:
    for place, row in enumerate(rows):
        assert row.bar
        share = row.ours.value / row.bar.number
        axis.barh(place, share, height=0.55, color=COLOURS[row.group])
        colour = INK if row.holds else MISSED
        axis.text(share + 0.015, place, f"{share:.0%}", va="center", fontsize=10, weight="bold", color=colour)
        _beside(axis, place, f"{short(row.ours.value)}  of  {short(row.bar.number)}  {row.unit}", colour)
    axis.axvline(1, color=INK, linewidth=2)
    axis.set_xlim(0, max(1.1, *(row.ours.value / row.bar.number * 1.1 for row in rows if row.bar)))
    axis.set_xticks([0, 0.5, 1], ["0", "half", "limit"])
    axis.set_title("how much of its limit", loc="left", fontsize=10, color=INK)
    _name(axis, rows, [f"{row.group}: {row.name}" for row in rows])


def _beside(axis: Axes, place: int, figures: str, colour: str) -> None:
    axis.text(1.01, place, figures, va="center", fontsize=9, color=colour, transform=axis.get_yaxis_transform())


def _name(axis: Axes, rows: Sequence[Row], names: list[str]) -> None:
    axis.set_yticks(range(len(rows)), names, fontsize=9)
    axis.invert_yaxis()
    axis.spines[["top", "right", "left"]].set_visible(False)
    axis.tick_params(axis="y", length=0)
    axis.tick_params(axis="x", colors=FAINT)
