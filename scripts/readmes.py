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
MARKED = re.compile(r"(<!-- options -->\n).*?(<!-- /options -->)", re.DOTALL)
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
    flag = f"`{each.flag}`" if not each.positional else f"`{each.unit}…`"
    cells = [
        f"**{flag}**" if each.decides else flag,
        f"`{each.variable}`" if each.variable else "",
        default(each),
        values(each),
        each.help.replace("|", "\\|"),
    ]
    return f"| {' | '.join(cells)} |\n"


def default(each: Option) -> str:
    if each.required:
        return "must be given"
    if isinstance(each.default, Place):
        return f"`{each.default.shown}`" if each.default.shown else ""
    if callable(each.default) or each.default in (None, False, ()):
        return ""
    value = each.default if not isinstance(each.default, tuple) else " ".join(map(str, each.default))
    return f"`{value}`"


def values(each: Option) -> str:
    if each.choices:
        return ", ".join(f"`{choice}`" for choice in each.choices)
    if each.least is None:
        return ""
    return f"≥ {each.least}" if each.most == float("inf") else f"{each.least} to {each.most}"


def main(arguments: list[str]) -> int:
    """Write every table that is not current; with --check, name them and end with 1."""
    stale = []
    for readme in sorted(ROOT.glob("stages/*/README.md")):
        text = readme.read_text(encoding="utf-8")
        if not MARKED.search(text):
            continue
        table = tables(readme.parent.name)
        current = MARKED.sub(lambda found, table=table: found[1] + table + found[2], text)  # type: ignore[misc]
        if current != text:
            stale.append(readme)
            if "--check" not in arguments:
                readme.write_text(current, encoding="utf-8")
    if stale and "--check" in arguments:
        print(
            f"{', '.join(str(path.relative_to(ROOT)) for path in stale)}: the options changed; make fix",
            file=sys.stderr,
        )
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
