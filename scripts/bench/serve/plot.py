"""Rows → pictures: how far each row is from its bar, and memory and times of the service at full load."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from scripts.bench.plot import FAINT, INK, MISSED, canvas, label, name_rows, save
from scripts.bench.rows import Row
from scripts.bench.table import bar, short

COLOURS = {
    "image": "#CC79A7",
    "start": "#56B4E9",
    "command": "#009E73",
    "http": "#0072B2",
    "soak": "#D55E00",
    "fill-mask": "#E69F00",
}


def plot(rows: Sequence[Row], title: str, below: str, out: Path) -> list[Path]:
    """Write `serve.png` and `serve.svg`, and `soak.png` and `soak.svg` of a soak; return their paths."""
    paths = []
    judged = [row for row in rows if row.bar and row.bar.number and row.result]
    if judged:
        paths += save(_bars(judged, title, below), out, "serve")
    for row in rows:
        if "windows" in row.facts:
            paths += save(_minutes(row.facts, below), out, "soak")
    return paths


def _bars(rows: Sequence[Row], title: str, below: str) -> Figure:
    picture = canvas((13.5, 2 + 0.55 * len(rows)), title, below)
    axis = picture.subplots()
    axis.set_xscale("log")
    lengths = []
    for place, row in enumerate(rows):
        assert row.ours
        assert row.result
        assert row.bar
        length = row.result / row.bar.number if row.bar.sign == "≥" else row.bar.number / row.result
        lengths.append(length)
        axis.barh(place, length - 1, left=1, height=0.6, color=COLOURS[row.group])
        result = f"{short(row.result)}{'' if row.bar.of_value else ' ×'}  ({bar(row.bar)})"
        against = f"  against  {short(row.yardstick.value)}" if row.yardstick else ""
        figures = f"{short(row.ours.value)}{against}  {row.unit}"
        label(axis, place, max(length, 1) * 1.03, result, figures, INK if row.holds else MISSED)
    axis.axvline(1, color=INK, linewidth=2)
    axis.set_xlim(min(0.9, *lengths) / 1.05, max(2, *lengths) ** 1.35)
    ticks = [tick for tick in (0.25, 0.5, 1, 2, 4, 8) if axis.get_xlim()[0] <= tick <= axis.get_xlim()[1]]
    axis.set_xticks(ticks, ["bar" if tick == 1 else f"{tick:g} ×" for tick in ticks])
    axis.minorticks_off()
    names = [f"{row.name}\nagainst {row.yardstick_name}" if row.yardstick_name else row.name for row in rows]
    name_rows(axis, names, "how many times better than its bar (log scale)")
    return picture


def _minutes(facts: dict[str, Any], below: str) -> Figure:
    picture = canvas((11, 7.5), "The service at full load with random requests", below)
    axes = memory, times, rates = picture.subplots(3, 1, sharex=True)
    seconds, sizes = zip(*facts["memory"], strict=True)
    memory.plot([second / 60 for second in seconds], [size / 1e6 for size in sizes], color=COLOURS["soak"])
    memory.set_ylim(0, max(sizes) / 1e6 * 1.15)
    # The last window is not whole.
    windows = facts["windows"][:-1] or facts["windows"]
    places = [place for place, window in enumerate(windows) if window]
    minutes = [(place + 0.5) * facts["window"] / 60 for place in places]
    for share, group, name in (("p99", "http", "99 %"), ("p50", "start", "median")):
        times.plot(minutes, [windows[place][share] * 1e3 for place in places], color=COLOURS[group], label=name)
    times.set_yscale("log")
    times.legend(frameon=False, fontsize=9, ncols=2, loc="upper right")
    requests = [windows[place]["requests"] / facts["window"] for place in places]
    rates.plot(minutes, requests, color=COLOURS["command"])
    rates.set_ylim(bottom=0)
    titles = ("memory of the service, MB", "an answer takes, milliseconds (log scale)", "answers per second")
    for axis, title in zip(axes, titles, strict=True):
        axis.set_title(title, loc="left", fontsize=10, color=INK)
        axis.spines[["top", "right"]].set_visible(False)
        axis.tick_params(colors=FAINT)
    rates.set_xlabel("minutes", color=FAINT)
    return picture
