"""The tables of options in the stages' READMEs, from their dataclasses: written, or with `--check` only compared.

A README has a line `<!-- options -->`, the table, and a line `<!-- /options -->`.
"""

from __future__ import annotations

import dataclasses
import importlib
import re
import sys
from pathlib import Path

from stages.command.folders import Place
from stages.command.options import Option, options_of

ROOT = Path(__file__).resolve().parent.parent
MARKED = re.compile(r"(?<=<!-- options -->\n).*?(?=<!-- /options -->)", re.DOTALL)
HEAD = "| option | variable | default | values | |\n| --- | --- | --- | --- | --- |\n"


def classes(folder: str) -> list[type]:
    """The dataclasses of options in a folder of stages, one for each of its commands."""
    module = importlib.import_module(f"stages.{folder}.options")
    own = [kind for kind in vars(module).values() if isinstance(kind, type) and kind.__module__ == module.__name__]
    return list(filter(dataclasses.is_dataclass, own))


def tables(folder: str) -> str:
    """The tables of a folder's commands; each has a heading where there are several."""
    kinds = classes(folder)
    heading = "`{}`\n\n" if len(kinds) > 1 else ""
    made = [heading.format(kind.__name__.lower()) + HEAD + "".join(map(row, options_of(kind))) for kind in kinds]
    return "\n" + "\n".join(made) + "\n"


def row(each: Option) -> str:
    """A line of the table. Bold: the option decides the bytes of the output."""
    flag = f"`{each.unit}…`" if each.positional else f"`{each.flag}`"
    variable = f"`{each.variable}`" if each.variable else ""
    values = ", ".join(f"`{choice}`" for choice in each.choices or ())
    if not values and each.least is not None:
        no_limit = each.most == float("inf")
        values = f"≥ {each.least}" if no_limit else f"{each.least} to {each.most}"
    flag, text = f"**{flag}**" if each.decides else flag, each.help.replace("|", "\\|")
    return f"| {flag} | {variable} | {default(each)} | {values} | {text} |\n"


def default(each: Option) -> str:
    if each.required:
        return "must be given"
    value = each.default.shown if isinstance(each.default, Place) else each.default
    if callable(value) or value in (None, False, (), ""):
        return ""
    return f"`{' '.join(map(str, value)) if isinstance(value, tuple) else value}`"


def main(arguments: list[str]) -> int:
    """Write every table that is not current; with --check, name them and end with 1."""
    stale = []
    for readme in sorted(ROOT.glob("stages/*/README.md")):
        text = readme.read_text(encoding="utf-8")
        table = MARKED.search(text)
        current = tables(readme.parent.name) if table else ""
        if table and table[0] != current:
            stale.append(str(readme.relative_to(ROOT)))
            if "--check" not in arguments:
                readme.write_text(text[: table.start()] + current + text[table.end() :], encoding="utf-8")
    if stale and "--check" in arguments:
        print(f"{', '.join(stale)}: the options changed; make fix", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
