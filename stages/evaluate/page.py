"""The report → one HTML page without scripts, fonts or pictures from elsewhere."""

import re
from itertools import chain, zip_longest
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from stages.evaluate.calibration_plot import TITLES
from stages.evaluate.summary import BASELINES, interval, number, percent, rows


def page(report: dict[str, Any], plot: str) -> str:
    """The page, with the SVG of `calibration_plot` in it. All text of models and data is escaped."""
    templates = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    templates.globals.update(number=number, percent=percent, interval=interval)
    templates.filters["thousands"] = "{:,}".format
    masked, windows = report["masked_lm"][0], report["masked_windows"]
    beside = {**BASELINES, "other": report["other"]["name"]} if "other" in report else BASELINES
    heads = [(f"{title}: right", "loss") for name, title in beside.items() if name in masked]
    # Differences need the same tokens for both models: they are of the first rows.
    measures = [(masked, name) for name in ("accuracy", "top_5_accuracy", "loss")]
    measures += [(windows, name) for name in ("accuracy", "loss")]
    key = "model minus other"
    differences = [section[key][name] for section, name in measures if key in section]
    text: str = templates.get_template("report.html").render(
        {"other": None, **report},
        baselines=BASELINES,
        beside=beside,
        part_heads=["masked tokens", "number", "right", "among five", "loss", *chain(*heads)],
        measures=list(zip_longest(rows(report), differences)),
        gaps=list(zip_longest(report["filled"]["model"], report["filled"].get("other", []))),
        plots=TITLES,
        # In HTML an <svg> has no prolog and needs no namespaces.
        plot=re.sub(' xmlns(:xlink)?="[^"]*"', "", plot[plot.index("<svg") :]),
    )
    return text
