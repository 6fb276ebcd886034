"""`make help`: the first screen, the other commands, and every variable with what the stages say of it."""

from __future__ import annotations

import difflib
import re
import signal
import sys
import textwrap
from pathlib import Path

from stages.pipeline import STAGES, VARIABLES, variables

ROOT = Path(__file__).resolve().parent.parent


def options() -> list[str]:
    """Every variable that is an option of a stage, with the stages that have it."""
    lines = []
    for name, stages in sorted(variables().items()):
        texts = [each.help for stage in stages for each in STAGES[stage].options if each.variable == name]
        if texts:
            lines.append(line(name, f"{', '.join(stages)}: {texts[0]}" + "; and others" * (len({*texts}) > 1)))
    return lines


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
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # `make help | head` ends as `cat` does
    first, more = (Path(__file__).with_name(name).read_text(encoding="utf-8") for name in ("help.txt", "help_more.txt"))
    own = [line(name, text) for name, text in VARIABLES.items()]
    print(first, more, sep="\n", end="")
    print(*own, "", "Variables that are options of stages: --seq-length is SEQ_LENGTH", *options(), sep="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
