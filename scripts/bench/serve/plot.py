"""Rows → pictures: each row beside its yardstick, and memory and times of the service at full load."""

from collections.abc import Sequence
from pathlib import Path

from scripts.bench import plot as bars
from scripts.bench.plot import COLOURS, FAINT, INK, canvas, save
from scripts.bench.rows import Row

TITLES = ("memory of the service, MB", "an answer takes, milliseconds (log scale)", "answers per second")


def plot(rows: Sequence[Row], title: str, below: str, out: Path) -> list[Path]:
    """Write `serve.png` and `serve.svg` of the rows with a bar, and `soak.png` and `soak.svg`; return their paths."""
    paths = bars.plot([row for row in rows if row.bar], title, below, out, "serve")
    for facts in (row.facts for row in rows if "windows" in row.facts):
        picture = canvas((11, 7.5), "The service at full load with random requests", below)
        axes = memory, times, rates = picture.subplots(3, 1, sharex=True)
        seconds, sizes = zip(*facts["memory"], strict=True)
        memory.plot([second / 60 for second in seconds], [size / 1e6 for size in sizes], color=COLOURS[3])
        memory.set_ylim(0, max(sizes) / 1e6 * 1.15)
        # The last window is not whole.
        windows = [(place, window) for place, window in enumerate(facts["windows"][:-1] or facts["windows"]) if window]
        minutes = [(place + 0.5) * facts["window"] / 60 for place, _ in windows]
        for share, colour, name in (("p99", COLOURS[0], "99 %"), ("p50", COLOURS[6], "median")):
            times.plot(minutes, [window[share] * 1e3 for _, window in windows], color=colour, label=name)
        times.set_yscale("log")
        times.legend(frameon=False, fontsize=9, ncols=2, loc="upper right")
        rates.plot(minutes, [window["requests"] / facts["window"] for _, window in windows], color=COLOURS[1])
        rates.set_ylim(bottom=0)
        rates.set_xlabel("minutes", color=FAINT)
        for axis, name in zip(axes, TITLES, strict=True):
            axis.set_title(name, loc="left", fontsize=10, color=INK)
            axis.spines[["top", "right"]].set_visible(False)
            axis.tick_params(colors=FAINT)
        paths += save(picture, out, "soak")
    return paths
