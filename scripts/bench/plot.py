"""Rows → one picture: how many times faster than its yardstick each row is, and its share of each limit."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from scripts.bench.rows import Row, short

# Of the groups, in their order.
COLOURS = ("#0072B2", "#009E73", "#E69F00", "#D55E00", "#F0E442", "#CC79A7", "#56B4E9")
INK, FAINT, MISSED = "#222222", "#999999", "#C00000"


def plot(rows: Sequence[Row], title: str, below: str, out: Path, name: str = "speed") -> list[Path]:
    """Write a PNG and an SVG into the folder; return their paths, none where no row can be drawn."""
    ratios = [row for row in rows if row.ratio and not (row.bar and row.bar.of_value)]
    limits = [row for row in rows if row.bar and row.bar.of_value and row.bar.number and row.ours]
    panels = [(draw, part) for draw, part in ((_ratios, ratios), (_limits, limits)) if part]
    if not panels:
        return []
    heights = [len(part) for _, part in panels]
    figure = canvas((13.5, 2 + 0.47 * sum(heights)), title, below)
    axes = figure.subplots(len(heights), 1, squeeze=False, height_ratios=heights)
    colours = dict(zip(dict.fromkeys(row.group for row in rows), COLOURS, strict=False))
    for axis, (draw, part) in zip(axes.flat, panels, strict=True):
        draw(axis, part, colours)
    return save(figure, out, name)


def canvas(size: tuple[float, float], title: str, below: str) -> Figure:
    """An empty figure between its title and a line about the measurement."""
    figure = Figure(figsize=size, layout="constrained")
    figure.suptitle(title, x=0.01, ha="left", fontsize=13, weight="bold", color=INK)
    figure.supxlabel(below, x=0.01, ha="left", fontsize=8, color=FAINT)
    return figure


def save(figure: Figure, out: Path, name: str) -> list[Path]:
    """Write the figure as PNG and SVG; return their paths."""
    paths = [out / f"{name}.{kind}" for kind in ("png", "svg")]
    for path in paths:
        figure.savefig(path, dpi=150)
    return paths


def label(axis: Axes, place: int, end: float, text: str, figures: str, colour: str) -> None:
    """A bold text at the end of a bar, and the row's figures in the right margin."""
    axis.text(end, place, text, va="center", fontsize=10, weight="bold", color=colour)
    axis.text(1.01, place, figures, va="center", fontsize=9, color=colour, transform=axis.get_yaxis_transform())


def name_rows(axis: Axes, names: list[str], title: str) -> None:
    """Names of the bars, from the top, on an axis with its title and without a frame."""
    axis.set_title(title, loc="left", fontsize=10, color=INK)
    axis.set_yticks(range(len(names)), names, fontsize=9)
    axis.invert_yaxis()
    axis.spines[["top", "right", "left"]].set_visible(False)
    axis.tick_params(axis="y", length=0)
    axis.tick_params(axis="x", colors=FAINT)


def _ratios(axis: Axes, rows: Sequence[Row], colours: dict[str, str]) -> None:
    axis.set_xscale("log")
    values = [row.ratio or 1 for row in rows]
    for place, (row, ratio) in enumerate(zip(rows, values, strict=True)):
        assert row.ours
        assert row.yardstick
        axis.barh(place, ratio - 1, left=1, height=0.62, color=colours[row.group])
        # Behind the bar's end, and behind the mark where that is just behind it.
        reach = max(ratio, 1)
        if row.bar:
            axis.plot([row.bar.number] * 2, [place - 0.42, place + 0.42], color=INK, linewidth=2)
            reach = row.bar.number if reach < row.bar.number < 2.2 * reach else reach
        text = f"{short(ratio)} ×" + f"  ({row.bar})" * bool(row.bar and row.bar.sign == "≤")
        figures = f"{short(row.ours.value)}  against  {short(row.yardstick.value)}  {row.unit}"
        label(axis, place, reach * 1.06, text, figures, MISSED if row.holds is False else INK)
    axis.axvline(1, color=INK, linewidth=1)
    most = max(2, *values, *(row.bar.number for row in rows if row.bar))
    axis.set_xlim(min(0.9, *values), most**1.15)
    ticks = [power for power in (1, 10, 100, 1000) if power <= most]
    axis.set_xticks(ticks, [f"{tick} ×" for tick in ticks])
    axis.minorticks_off()
    marks = [(INK, "what it must reach"), *[(MISSED, "missed")] * any(row.holds is False for row in rows)]
    style: dict[str, Any] = {"marker": "|", "markersize": 11, "markeredgewidth": 2, "linestyle": "none"}
    handles = [Line2D([], [], color=colour, label=text, **style) for colour, text in marks]
    axis.legend(handles=handles, ncols=2, loc="lower right", bbox_to_anchor=(1, 0.985), frameon=False, fontsize=9)
    names = [f"{row.group}: {row.name}\nagainst {row.yardstick_name}" for row in rows]
    name_rows(axis, names, "how many times its yardstick (log scale)")


def _limits(axis: Axes, rows: Sequence[Row], colours: dict[str, str]) -> None:
    shares = []
    for place, row in enumerate(rows):
        assert row.ours
        assert row.bar
        shares.append(row.ours.value / row.bar.number)
        axis.barh(place, shares[-1], height=0.55, color=colours[row.group])
        figures = f"{short(row.ours.value)}  of  {short(row.bar.number)}  {row.unit}"
        label(axis, place, shares[-1] + 0.015, f"{shares[-1]:.0%}", figures, INK if row.holds else MISSED)
    axis.axvline(1, color=INK, linewidth=2)
    axis.set_xlim(0, max(1.1, *(share * 1.1 for share in shares)))
    axis.set_xticks([0, 0.5, 1], ["0", "half", "limit"])
    name_rows(axis, [f"{row.group}: {row.name}" for row in rows], "how much of its limit")
