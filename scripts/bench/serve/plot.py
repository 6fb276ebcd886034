"""Rows → pictures: each row beside its yardstick, and memory and times of the service at full load."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from scripts.bench import plot as bars
from scripts.bench.plot import COLOURS, FAINT, INK, canvas, save
from scripts.bench.rows import Row


def plot(rows: Sequence[Row], title: str, below: str, out: Path) -> list[Path]:
    """Write `serve.png` and `serve.svg` of the rows with a bar, and `soak.png` and `soak.svg`; return their paths."""
    paths = bars.plot([row for row in rows if row.bar], title, below, out, "serve")
    for row in rows:
        if "windows" in row.facts:
            paths += save(_minutes(row.facts, below), out, "soak")
    return paths


def _minutes(facts: dict[str, Any], below: str) -> Figure:
    picture = canvas((11, 7.5), "The service at full load with random requests", below)
    axes = memory, times, rates = picture.subplots(3, 1, sharex=True)
    seconds, sizes = zip(*facts["memory"], strict=True)
    memory.plot([second / 60 for second in seconds], [size / 1e6 for size in sizes], color=COLOURS[3])
    memory.set_ylim(0, max(sizes) / 1e6 * 1.15)
    # The last window is not whole.
    windows = facts["windows"][:-1] or facts["windows"]
    places = [place for place, window in enumerate(windows) if window]
    minutes = [(place + 0.5) * facts["window"] / 60 for place in places]
    for share, colour, name in (("p99", COLOURS[0], "99 %"), ("p50", COLOURS[6], "median")):
        times.plot(minutes, [windows[place][share] * 1e3 for place in places], color=colour, label=name)
    times.set_yscale("log")
    times.legend(frameon=False, fontsize=9, ncols=2, loc="upper right")
    requests = [windows[place]["requests"] / facts["window"] for place in places]
    rates.plot(minutes, requests, color=COLOURS[1])
    rates.set_ylim(bottom=0)
    titles = ("memory of the service, MB", "an answer takes, milliseconds (log scale)", "answers per second")
    for axis, title in zip(axes, titles, strict=True):
        axis.set_title(title, loc="left", fontsize=10, color=INK)
        axis.spines[["top", "right"]].set_visible(False)
        axis.tick_params(colors=FAINT)
    rates.set_xlabel("minutes", color=FAINT)
    return picture
