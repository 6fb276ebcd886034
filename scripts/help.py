"""`make help`: the first screen, the other commands, and every variable with what the stages say of it."""

from __future__ import annotations

import difflib
import re
import sys
import textwrap
from pathlib import Path

from stages.pipeline import STAGES, VARIABLES, variables

ROOT = Path(__file__).resolve().parent.parent
COMMANDS = """
Buckets of Google Cloud Storage: DATA, WORK_DIR, MODELS and DUMP may be gs://…
  make upload      WORK_DIR=gs://… [STAGE= MODEL= SIZE=]  DATA and MODELS → WORK_DIR, WORK_DIR/models
  make download    the same, the other way
  make mount       BUCKET=bucket[/prefix]                 → MOUNT/data, a folder, by a container
  make unmount     waits for what is not in the bucket yet, and takes the folder away

A Ray cluster for corpus, vocab and tfrecords: ENGINE=ray, with the same bytes as without
  make cluster     a head and workers on this machine, in containers; make cluster-stop takes them away

Working on it
  make check, fix, images, image/STAGE, venv, venv/STAGE
  make bench       how fast, each stage beside its yardstick, in bench/ (FLAGS=--quick: to see it work)
  make bench-recipe train's two recipes beside each other, in bench/recipes/ (83 minutes; it resumes)
  make bench-serve the tokenizer's command, image, service and masks beside their yardsticks (15 minutes)
  make torture     kills stages, fills disks, damages files, compares the bytes (8 minutes)
  make clean       caches, compiled C, half-written files, demo/, bench/, torture/; data and models stay
  make clean-all   CONFIRM=1: also DATA and MODELS, with every training run in them

Exit codes of a stage (make itself says "Error CODE" and ends with 2)
  0 done · 1 a bug, with a traceback · 2 wrong usage or bad input, one line says what and where
  75 right, but not now: no room, no memory, lost workers, another run in the folder; try again later
  130, 143 interrupted by SIGINT, SIGTERM · 137 killed from outside, most likely for lack of memory

Variables of the flow"""


def options() -> str:
    """Every variable that is an option of a stage, with the stages that have it."""
    lines = []
    for name, stages in sorted(variables().items()):
        if stages:
            said = {
                each.help: stage.name for stage in STAGES.values() for each in stage.options if each.variable == name
            }
            text = f"{', '.join(stages)}: {next(iter(said))}" + ("; and others" if len(said) > 1 else "")
            lines.append(line(name, text))
    return "\n".join(lines)


def line(name: str, text: str) -> str:
    return textwrap.fill(text, 112, initial_indent=f"  {name:<25} ", subsequent_indent=" " * 28)


def nearest(target: str) -> str:
    """The sentence for a target that make does not know."""
    phony = re.search(r"\.PHONY: ((?:.*\\\n)*.*)\n", (ROOT / "Makefile").read_text(encoding="utf-8"))
    assert phony
    targets = [*re.findall(r"[a-z][a-z-]+", phony[1]), *STAGES]
    close = difflib.get_close_matches(target, targets, 1)
    meant = f"did you mean make {close[0]}? " if close else ""
    return f"make: error: there is no target {target}; {meant}`make` lists them"


def main(arguments: list[str]) -> int:
    """Print all of it; of a target that make does not know, the nearest one."""
    if arguments:
        print(nearest(arguments[0]), file=sys.stderr)
        return 2
    print(Path(__file__).with_name("help.txt").read_text(encoding="utf-8") + COMMANDS)
    print("\n".join(line(name, text) for name, text in VARIABLES.items()))
    print("\nVariables that are options of stages: --seq-length is SEQ_LENGTH\n" + options())
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
