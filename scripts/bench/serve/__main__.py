"""The tokenizer's image, command, service and masks beside their yardsticks → a table, serve.json and pictures."""

import argparse
import dataclasses
import sys

from scripts.bench.report import Bench, parser
from scripts.bench.serve.command import command
from scripts.bench.serve.image import image, start
from scripts.bench.serve.masks import masks
from scripts.bench.serve.material import FULL, QUICK, Material
from scripts.bench.serve.plot import plot
from scripts.bench.serve.service import http
from scripts.bench.serve.soak import soak
from stages.command.running import run

METHOD = (
    "Both sides of a ratio run in turn, in one run. `here` is the tokenizer; a ratio is here by yardstick. "
    "The models are the tiny ones of the recipe, with random weights."
)
BENCH = Bench(
    name="bench-serve",
    file="serve.json",
    title="The tokenizer as a command and a service: how far from its bars",
    method=METHOD,
    quick_note="Quick sizes: they show that it works and say nothing about speed; they miss no bar.",
    groups={"image": image, "start": start, "command": command, "http": http, "fill-mask": masks, "soak": soak},
    # The speed of each side depends on these.
    packages={
        "tokenizer": ["numpy", "tinysegmenter3", "onnxruntime", "orjson"],
        "serve": ["fastapi", "uvicorn", "uvloop", "httptools"],
        "convert": ["torch", "transformers"],
    },
    footer={"python": "tokenizer", "onnxruntime": "tokenizer", "torch": "convert"},
    plot=plot,
    brief=True,
    partial=True,
)


def parse(arguments: list[str]) -> argparse.Namespace:
    """The command line."""
    names = list(BENCH.groups)
    options = parser(
        BENCH.name, __doc__, nargs="+", default=names, choices=names, metavar="NAME", help=f"some of {', '.join(names)}"
    )
    options.add_argument("--minutes", type=float, metavar="N", help="of full load (default: 10)")
    return options.parse_args(arguments)


def main(arguments: list[str]) -> None:
    """Measure and report."""
    options = parse(arguments)
    size = QUICK if options.quick else FULL
    if options.minutes:
        size = dataclasses.replace(size, soak_minutes=options.minutes)
    BENCH.run(options, Material, size)


if __name__ == "__main__":
    sys.exit(run(BENCH.name, main, resumes=False))
