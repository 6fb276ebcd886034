"""`make help`: the first screen, the other commands, and every variable with what the stages say of it."""

from __future__ import annotations

import difflib
import re
import signal
import sys
import textwrap
from pathlib import Path

from stages.pipeline import STAGES, VARIABLES, variables

HERE = Path(__file__).resolve().parent


def line(name: str, text: str) -> str:
    return textwrap.fill(text, 112, initial_indent=f"  {name:<25} ", subsequent_indent=" " * 28)


def main(arguments: list[str]) -> int:
    """Print all of it; of a target that make does not know, the nearest one."""
    if arguments:
        phony = re.search(r"\.PHONY: ((?:.*\\\n)*.*)\n", (HERE.parent / "Makefile").read_text(encoding="utf-8"))
        targets = [*re.findall(r"[a-z][a-z-]+", phony[1] if phony else ""), *STAGES]
        close = difflib.get_close_matches(arguments[0], targets, 1)
        meant = f"did you mean make {close[0]}? " if close else ""
        print(f"make: error: there is no target {arguments[0]}; {meant}`make` lists them", file=sys.stderr)
        return 2
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # `make help | head` ends as `cat` does
    print((HERE / "help.txt").read_text(encoding="utf-8"))
    print((HERE / "help_more.txt").read_text(encoding="utf-8"), end="")
    print(*(line(name, text) for name, text in VARIABLES.items()), sep="\n")
    print("\nVariables that are options of stages: --seq-length is SEQ_LENGTH")
    for name, stages in sorted(variables().items()):
        texts = [each.help for stage in stages for each in STAGES[stage].options if each.variable == name]
        if texts:
            print(line(name, f"{', '.join(stages)}: {texts[0]}" + "; and others" * (len({*texts}) > 1)))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
