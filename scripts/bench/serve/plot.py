"""Rows → pictures: how far each thing is from its bar, and memory and times of the service at full load."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")

from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from scripts.bench.plot import FAINT, INK, MISSED
from scripts.bench.serve.rows import Row, figure
from scripts.bench.table import bar

COLOURS = {
    "image": "#CC79A7",
    "start": "#56B4E9",
    "command": "#009E73",
    "http": "#0072B2",
    "soak": "#D55E00",
    "fill-mask": "#E69F00",
}


def plot(rows: Sequence[Row], title: str, below: str, out: Path) -> list[Path]:
    """Write `serve.png` and `serve.svg`, and `soak.png` and `soak.svg` where there is one; gives their paths."""
    paths = []
    judged = [row for row in rows if row.bar and row.bar.number and row.reached]
    if judged:
        paths += _written(_bars(judged, title, below), out, "serve")
    for row in rows:
        if "windows" in row.facts:
            paths += _written(_minutes(row.facts, below), out, "soak")
    return paths


def _bars(rows: Sequence[Row], title: str, below: str) -> Figure:
    made, axis = plt.subplots(figsize=(13.5, 2 + 0.55 * len(rows)), layout="constrained")
    made.suptitle(title, x=0.01, ha="left", fontsize=13, weight="bold", color=INK)
    axis.set_xscale("log")
    lengths = [times_better(row) for row in rows]
    for place, (row, length) in enumerate(zip(rows, lengths, strict=True)):
        assert row.ours is not None
        assert row.reached is not None
        colour = INK if row.holds else MISSED
        axis.barh(place, length - 1, left=1, height=0.6, color=COLOURS[row.group])
        unit = "" if row.bar and row.bar.of_value else " ×"
        reached = f"{figure(row.reached)}{unit}  ({bar(row.bar)})"
        axis.text(max(length, 1) * 1.03, place, reached, va="center", fontsize=10, weight="bold", color=colour)
        against = f"  against  {figure(row.yardstick)}" if row.yardstick is not None else ""
        told = f"{figure(row.ours)}{against}  {row.unit}"
        axis.text(1.01, place, told, va="center", fontsize=9, color=colour, transform=axis.get_yaxis_transform())
    axis.axvline(1, color=INK, linewidth=2)
    axis.set_xlim(min(0.9, *lengths) / 1.05, max(2, *lengths) ** 1.35)
    ticks = [tick for tick in (0.25, 0.5, 1, 2, 4, 8) if axis.get_xlim()[0] <= tick <= axis.get_xlim()[1]]
    axis.set_xticks(ticks, ["bar" if tick == 1 else f"{tick:g} ×" for tick in ticks])
    axis.minorticks_off()
    axis.set_title("how many times better than its bar (log scale)", loc="left", fontsize=10, color=INK)
    names = [f"{row.name}\nagainst {row.yardstick_name}" if row.yardstick_name else row.name for row in rows]
    axis.set_yticks(range(len(rows)), names, fontsize=9)
    axis.invert_yaxis()
    axis.spines[["top", "right", "left"]].set_visible(False)
    axis.tick_params(axis="y", length=0)
    axis.tick_params(axis="x", colors=FAINT)
    made.supxlabel(below, x=0.01, ha="left", fontsize=8, color=FAINT)
    return made


def times_better(row: Row) -> float:
    """How many times what its bar asks for, whichever way the bar points."""
    assert row.bar is not None
    assert row.reached is not None
    return row.reached / row.bar.number if row.bar.sign == "≥" else row.bar.number / row.reached


def _minutes(facts: dict[str, Any], below: str) -> Figure:
    made, (memory, times, rates) = plt.subplots(3, 1, sharex=True, figsize=(11, 7.5), layout="constrained")
    made.suptitle(
        "The service at full load with random requests", x=0.01, ha="left", fontsize=13, weight="bold", color=INK
    )
    at, sizes = zip(*facts["memory"], strict=True)
    memory.plot([second / 60 for second in at], [size / 1e6 for size in sizes], color=COLOURS["soak"])
    memory.set_ylim(0, max(sizes) / 1e6 * 1.15)
    # The last one is not whole.
    whole = facts["windows"][:-1] or facts["windows"]
    seen = [((place + 0.5) * facts["window"] / 60, each) for place, each in enumerate(whole) if each]
    minutes = [minute for minute, _ in seen]
    times.plot(minutes, [each["p99"] * 1e3 for _, each in seen], color=COLOURS["http"], label="99 %")
    times.plot(minutes, [each["p50"] * 1e3 for _, each in seen], color=COLOURS["start"], label="median")
    times.set_yscale("log")
    times.legend(frameon=False, fontsize=9, ncols=2, loc="upper right")
    rates.plot(minutes, [each["requests"] / facts["window"] for _, each in seen], color=COLOURS["command"])
    rates.set_ylim(bottom=0)
    titles = ("memory of the service, MB", "an answer takes, milliseconds (log scale)", "answers per second")
    for axis, title in zip((memory, times, rates), titles, strict=True):
        axis.set_title(title, loc="left", fontsize=10, color=INK)
        axis.spines[["top", "right"]].set_visible(False)
        axis.tick_params(colors=FAINT)
    rates.set_xlabel("minutes", color=FAINT)
    made.supxlabel(below, x=0.01, ha="left", fontsize=8, color=FAINT)
    return made


def _written(made: Figure, out: Path, name: str) -> list[Path]:
    paths = [out / f"{name}.{kind}" for kind in ("png", "svg")]
    for path in paths:
        made.savefig(path, dpi=150)
    plt.close(made)
    return paths
