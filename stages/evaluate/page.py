"""The numbers of an evaluation → one HTML page that needs nothing else: no script, font or picture from elsewhere."""

import re
from itertools import chain, zip_longest
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from stages.evaluate.calibration_plot import TITLES
from stages.evaluate.figures import interval, number, percent
from stages.evaluate.summary import BASELINES, rows


def page(found: dict[str, Any], plot: str) -> str:
    """The report, with the SVG of `calibration_plot` in it. All text from outside is escaped."""
    pages = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    pages.globals.update(number=number, percent=percent, interval=interval)
    pages.filters["thousands"] = "{:,}".format
    masked, windows = found["masked_lm"][0], found["masked_windows"]
    beside = {**BASELINES, "other": found["other"]["name"]} if "other" in found else BASELINES
    at_masks = [(f"{title}: right", "loss") for name, title in beside.items() if name in masked]
    # Only tokens that both models were asked for have differences: those of the first rows.
    measured = [(masked, name) for name in ("accuracy", "top_5_accuracy", "loss")]
    measured += [(windows, name) for name in ("accuracy", "loss")]
    differences = [of["model minus other"][name] for of, name in measured if "model minus other" in of]
    text: str = pages.get_template("report.html").render(
        {"other": None, **found},
        baselines=BASELINES,
        beside=beside,
        part_heads=["masked tokens", "number", "right", "among five", "loss", *chain(*at_masks)],
        measures=list(zip_longest(rows(found), differences)),
        gaps=list(zip_longest(found["filled"]["model"], found["filled"].get("other", []))),
        plots=TITLES,
        # In HTML an <svg> has no prolog and needs no namespaces.
        plot=re.sub(' xmlns(:xlink)?="[^"]*"', "", plot[plot.index("<svg") :]),
    )
    return text
