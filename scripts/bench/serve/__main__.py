"""The tokenizer's image, command, service and masks beside their yardsticks → a table, serve.json and pictures."""

import dataclasses
import sys

from scripts.bench.material import FULL
from scripts.bench.report import Bench
from scripts.bench.serve.command import command, masks
from scripts.bench.serve.image import image, start
from scripts.bench.serve.plot import plot
from scripts.bench.serve.service import hostile, http, soak
from stages.command.running import run

BENCH = Bench(
    name="bench-serve",
    description=__doc__,
    file="serve.json",
    title="The tokenizer as a command and a service: how many times its yardsticks",
    method="Both sides of a ratio run in turn, in one run. `here` is the tokenizer; a ratio is here by yardstick. "
    "The models are the tiny ones of the recipe, with random weights.",
    groups={
        "image": image,
        "start": start,
        "command": command,
        "http": http,
        "fill-mask": masks,
        "soak": soak,
        "hostile": hostile,
    },
    packages={
        "tokenizer": ["numpy", "tinysegmenter3", "onnxruntime", "orjson"],
        "serve": ["fastapi", "uvicorn", "uvloop", "httptools"],
        "convert": ["torch", "transformers"],
    },
    footer={"python": "tokenizer", "onnxruntime": "tokenizer", "torch": "convert"},
    full=dataclasses.replace(FULL, rounds=5),
    plot=plot,
)

if __name__ == "__main__":
    sys.exit(run(BENCH.name, BENCH.main, resumes=False))
