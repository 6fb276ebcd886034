"""Calibration → a plot of what was predicted against what came true, as SVG without anything foreign."""

import math
from html import escape
from typing import Any

TITLES = {
    "first": "The first of the five",
    "each_of_five": "Each of the five",
    "five_together": "The five together",
}
WIDTH, HEIGHT = 300, 290
_LEFT, _TOP, _SIDE = 46, 30, 220
# Standing alone, in the colours of a page that has none; in the report the page's own rules apply.
_STYLE = """svg{font:12px system-ui,sans-serif;--ink:#1d2127;--muted:#59616e;--line:#d5dae1;--accent:#0b62c4}
@media(prefers-color-scheme:dark){svg{--ink:#e8eaee;--muted:#a3acba;--line:#3a424e;--accent:#6fb1ff}}"""
# Both in the report and alone.
RULES = """.frame{fill:none;stroke:var(--line)}.even{stroke:var(--muted);stroke-dasharray:4 4}
.range{stroke:var(--accent);stroke-width:1.5}.curve{fill:none;stroke:var(--accent);stroke-width:1.5;opacity:.55}
.bin{fill:var(--accent)}.tick{fill:var(--muted)}.title{fill:var(--ink);font-weight:600}"""


def panel(title: str, described: dict[str, Any]) -> str:
    """One plot, 300 × 290: the bins with their 95 % intervals; a point's area tells how many predictions it has."""

    def x(value: float) -> str:
        return f"{_LEFT + _SIDE * value:.1f}"

    def y(value: float) -> str:
        return f"{_TOP + _SIDE * (1 - value):.1f}"

    parts = [f'<text class="title" x="{_LEFT}" y="18">{escape(title)}</text>']
    parts.append(f'<rect class="frame" x="{_LEFT}" y="{_TOP}" width="{_SIDE}" height="{_SIDE}"/>')
    parts.append(f'<line class="even" x1="{x(0)}" y1="{y(0)}" x2="{x(1)}" y2="{y(1)}"/>')
    for tick in (0, 0.5, 1):
        parts.append(f'<text class="tick" x="{x(tick)}" y="{_TOP + _SIDE + 16}" text-anchor="middle">{tick:.0%}</text>')
        parts.append(f'<text class="tick" x="{_LEFT - 6}" y="{_TOP + _SIDE * (1 - tick) + 4:.1f}" '
                     f'text-anchor="end">{tick:.0%}</text>')  # fmt: skip
    middle = _TOP + _SIDE // 2
    parts.append(f'<text class="tick" x="{x(0.5)}" y="{HEIGHT - 8}" text-anchor="middle">predicted probability</text>')
    parts.append(f'<text class="tick" x="12" y="{middle}" text-anchor="middle" '
                 f'transform="rotate(-90 12 {middle})">how often right</text>')  # fmt: skip
    bins = described["bins"]
    points = " ".join(f"{x(one['predicted'])},{y(one['frequency']['value'])}" for one in bins)
    parts.append(f'<polyline class="curve" points="{points}"/>')
    most = max((one["count"] for one in bins), default=1)
    for one in bins:
        at, seen = x(one["predicted"]), one["frequency"]
        radius = 2.5 + 4.5 * math.sqrt(one["count"] / most)
        parts.append(f'<line class="range" x1="{at}" y1="{y(seen["low"])}" x2="{at}" y2="{y(seen["high"])}"/>')
        words = f"{one['count']:,} predictions of {one['predicted']:.1%} on average, right {seen['value']:.1%}"
        parts.append(
            f'<circle class="bin" cx="{at}" cy="{y(seen["value"])}" r="{radius:.1f}"><title>{words}</title></circle>'
        )
    return "\n".join(parts)


def calibration_plot(calibration: dict[str, Any], standalone: bool = False) -> str:
    """Three plots: beside one another in one file (`standalone`), or an `<svg>` each for a page to arrange."""
    panels = [(TITLES[name], panel(TITLES[name], calibration[name])) for name in TITLES]
    size = f'width="{WIDTH}" height="{HEIGHT}"'
    if not standalone:
        return "\n".join(
            f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" {size} role="img" aria-label="Calibration: {escape(title)}">\n'
            f"{drawn}\n</svg>"
            for title, drawn in panels
        )
    placed = [f'<g transform="translate({WIDTH * n} 0)">\n{drawn}\n</g>' for n, (_, drawn) in enumerate(panels)]
    whole = f'viewBox="0 0 {WIDTH * len(panels)} {HEIGHT}" width="{WIDTH * len(panels)}" height="{HEIGHT}"'
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" {whole} role="img" aria-label="Calibration">',
            f"<style>{_STYLE}\n{RULES}</style>",
            *placed,
            "</svg>\n",
        ]
    )
