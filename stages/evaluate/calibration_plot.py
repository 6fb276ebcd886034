"""Calibration → a plot of predicted probability against frequency, as SVG without external resources."""

import io
import math
import re
from typing import Any

import matplotlib
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

TITLES = {"first": "The first of the five", "each_of_five": "Each of the five", "five_together": "The five together"}
INK, MUTED, LINE, ACCENT = "#1d2127", "#59616e", "#d5dae1", "#0b62c4"
# The colours of the dark scheme; report.html has the same.
_DARK = {INK: "#e8eaee", MUTED: "#a3acba", LINE: "#3a424e", ACCENT: "#6fb1ff"}
_STYLE = {
    "svg.hashsalt": "calibration", "svg.fonttype": "none", "font.sans-serif": ["DejaVu Sans"], "font.size": 9,
    "axes.titlesize": 9, "axes.titleweight": "bold", "axes.titlelocation": "left", "axes.titlecolor": INK,
    "axes.edgecolor": LINE, "axes.labelcolor": MUTED, "xtick.color": MUTED, "ytick.color": MUTED,
    "xtick.major.size": 0, "ytick.major.size": 0, "xtick.major.pad": 6, "ytick.major.pad": 6,
}  # fmt: skip
_METADATA = dict.fromkeys(("Creator", "Date", "Format", "Type"))


def calibration_plot(calibration: dict[str, Any]) -> str:
    """Three panels in one SVG, with a light and a dark scheme. The same numbers give the same bytes."""
    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=(9.4, 3.1))
        figure.subplots_adjust(left=0.07, right=0.98, top=0.9, bottom=0.16, wspace=0.3)
        for axes, (name, title) in zip(figure.subplots(1, 3), TITLES.items(), strict=True):
            _panel(axes, title, calibration[name]["bins"])
        stream = io.StringIO()
        figure.savefig(stream, format="svg", transparent=True, metadata=_METADATA)
    svg = re.sub('<g id="([^"]* predictions [^"]*)">', r"<g><title>\1</title>", stream.getvalue())
    svg = re.sub("(fill|stroke): (#.{6})", lambda m: f"{m[0]}; {m[1]}: light-dark({m[2]}, {_DARK[m[2]]})", svg)
    svg = svg.replace("</style>", "svg{color-scheme: light dark}</style>", 1)
    return svg.replace("<svg ", '<svg role="img" aria-label="Calibration of the first, each and all of the five" ', 1)


def _panel(axes: Any, title: str, bins: list[dict[str, Any]]) -> None:
    """The bins with their 95 % intervals. A point's area and its tooltip give the number of its predictions."""
    axes.set(title=title, xlabel="predicted probability", ylabel="how often right", aspect="equal")
    axes.set(xlim=(0, 1), ylim=(0, 1), xticks=(0, 0.5, 1), yticks=(0, 0.5, 1))
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(PercentFormatter(1, decimals=0))
    # No clipping, so that points at 0 % and 100 % are whole.
    axes.plot([0, 1], [0, 1], color=MUTED, linewidth=0.8, dashes=(5, 5), clip_on=False)
    line = {"color": ACCENT, "linewidth": 1.2, "clip_on": False}
    axes.plot([one["predicted"] for one in bins], [one["frequency"]["value"] for one in bins], **line, alpha=0.55)
    most = max((one["count"] for one in bins), default=1)
    for one in bins:
        x, frequency, size = one["predicted"], one["frequency"], 3 + 7 * math.sqrt(one["count"] / most)
        y = frequency["value"]
        axes.plot([x, x], [frequency["low"], frequency["high"]], **line)
        tooltip = f"{one['count']:,} predictions of {x:.1%} on average, right {y:.1%}"
        axes.plot(x, y, "o", color=ACCENT, markersize=size, markeredgewidth=0, clip_on=False, gid=tooltip)
