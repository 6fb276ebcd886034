"""The stages' real commands and their yardsticks, measured in turn → a table, results.json, speed.png and speed.svg."""

import argparse
import sys

from scripts.bench.comparisons import GROUPS
from scripts.bench.extrapolation import extrapolate, lines
from scripts.bench.material import FULL, QUICK, Material
from scripts.bench.plot import plot
from scripts.bench.report import Bench, parser
from stages.command.refusal import Refusal
from stages.command.running import run

METHOD = (
    "Each side runs in its stage's environment, the two in turn; the best round of each counts, but for words, where "
    "all parts of the text do, and two workers (the median). CPU time on one core unless it says wall time. Peak "
    "memory is that of the process."
)
BENCH = Bench(
    name="bench",
    file="results.json",
    title="Japanese ALBERT pipeline: how much faster than its yardsticks",
    method=METHOD,
    quick_note="Quick sizes: mostly the time to start. They show that it works and say nothing about speed.",
    groups=GROUPS,
    # The speed of each stage depends on these.
    packages={
        "corpus": ["isal", "orjson"],
        "vocab": ["numpy", "tinysegmenter3", "tokenizers"],
        "tfrecords": ["numpy", "tinysegmenter3", "zlib-ng"],
        "tokenizer": ["numpy", "tinysegmenter3"],
        "convert": ["numpy", "tinysegmenter3", "transformers"],
    },
    footer={"python": "tfrecords"},
    plot=plot,
    extrapolate=extrapolate,
    lines=lines,
)


def parse(arguments: list[str]) -> argparse.Namespace:
    """The command line."""
    only = {"metavar": "NAMES", "help": f"some of {','.join(GROUPS)}, separated by commas"}
    options = parser(BENCH.name, __doc__, **only).parse_args(arguments)
    options.only = options.only.split(",") if options.only else list(GROUPS)
    unknown = [name for name in options.only if name not in GROUPS]
    if unknown:
        raise Refusal(f"--only {unknown[0]} is none of {', '.join(GROUPS)}")
    return options


def main(arguments: list[str]) -> None:
    """Measure and report."""
    options = parse(arguments)
    BENCH.run(options, Material, QUICK if options.quick else FULL)


if __name__ == "__main__":
    sys.exit(run(BENCH.name, main, resumes=False))
