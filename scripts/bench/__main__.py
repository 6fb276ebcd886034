"""The stages' real commands and their yardsticks, measured in turn → a table, results.json, speed.png and speed.svg."""

import sys

from scripts.bench.comparisons import GROUPS
from scripts.bench.material import FULL
from scripts.bench.plot import plot
from scripts.bench.report import Bench
from stages.command.running import run

BENCH = Bench(
    name="bench",
    description=__doc__,
    file="results.json",
    title="Japanese ALBERT pipeline: how much faster than its yardsticks",
    method="Each side runs in the environment of its stage. The two sides take turns, and the best round of each "
    "counts. There are two exceptions: words (all parts of the text count) and two workers (the median counts). Times "
    "are CPU time on one core unless the row says wall time. Peak memory is that of the process.",
    groups=GROUPS,
    packages={
        "corpus": ["isal", "orjson"],
        "vocab": ["numpy", "tinysegmenter3", "tokenizers"],
        "tfrecords": ["numpy", "tinysegmenter3", "zlib-ng"],
        "tokenizer": ["numpy", "tinysegmenter3"],
        "convert": ["numpy", "tinysegmenter3", "transformers"],
    },
    footer={"python": "tfrecords"},
    full=FULL,
    plot=plot,
)

if __name__ == "__main__":
    sys.exit(run(BENCH.name, BENCH.main, resumes=False))
