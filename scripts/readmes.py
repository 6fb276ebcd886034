"""The tables in READMEs that follow from code: written, or with `--check` only compared.

They stand between `<!-- name -->` and `<!-- /name -->`: the options of a stage, from its dataclasses, and the costs of
the published run, computed from the configurations. Needs nothing but Python 3.9.
"""

from __future__ import annotations

import dataclasses
import importlib
import json
import re
import sys
from pathlib import Path

from stages.command.folders import Place
from stages.command.options import Option, options_of

ROOT = Path(__file__).resolve().parent.parent
MARKED = re.compile(r"(?<=<!-- )(options|costs)( -->\n).*?(?=<!-- /\1 -->)", re.DOTALL)
HEAD = "| option | variable | default | values | |\n| --- | --- | --- | --- | --- |\n"
# The published run, in examples of LENGTH tokens.
STEPS, BATCH, LENGTH, PREDICTIONS = 1_000_000, 512, 512, 20
# Machine → operations a second, dense bfloat16, by its maker (H100 SXM: 989 T a GPU; v5e: 197 T a chip); the share of
# them that well-tuned programs of this size reach, of which eight GPUs lose some to each other; dollars an hour,
# assumed: clouds differ threefold.
MACHINES = {
    "one H100": (989e12, 0.35, 3.0),
    "eight H100": (8 * 989e12, 0.35 * 0.9, 8 * 3.0),
    "TPU v5e-8": (8 * 197e12, 0.35, 8 * 1.2),
}
DAY = 24 * 3600


def classes(folder: str) -> list[type]:
    """The dataclasses of options in a folder of stages, one for each of its commands."""
    module = importlib.import_module(f"stages.{folder}.options")
    own = [kind for kind in vars(module).values() if isinstance(kind, type) and kind.__module__ == module.__name__]
    return list(filter(dataclasses.is_dataclass, own))


def options(folder: str) -> str:
    """The tables of a folder's commands; each has a heading where there are several."""
    kinds = classes(folder)
    heading = "`{}`\n\n" if len(kinds) > 1 else ""
    return "\n".join(
        heading.format(kind.__name__.lower()) + HEAD + "".join(map(row, options_of(kind))) for kind in kinds
    )


def row(each: Option) -> str:
    """A line of the table. Bold: the option decides the bytes of the output."""
    flag = f"`{each.unit}…`" if each.positional else f"`{each.flag}`"
    variable = f"`{each.variable}`" if each.variable else ""
    values = ", ".join(f"`{choice}`" for choice in each.choices)
    if not values and each.least is not None:
        values = f"≥ {each.least}" if each.most == float("inf") else f"{each.least} to {each.most}"
    default = each.default.shown if isinstance(each.default, Place) else each.default
    default = " ".join(map(str, default)) if isinstance(default, tuple) else default
    default = "" if callable(default) or default in (None, False, "") else f"`{default}`"
    default = "must be given" if each.required else default
    flag, text = f"**{flag}**" if each.decides else flag, each.help.replace("|", "\\|")
    return f"| {flag} | {variable} | {default} | {values} | {text} |\n"


def operations(config: dict[str, int]) -> float:
    """Multiplications and additions of a step, forward and backward (twice the forward pass).

    Of a layer: queries, keys, values and output (4 h²), the feed-forward part (2 h i), and attention (2 L h), each
    multiplied and added; sharing parameters saves none of it. The masked LM head is on the masked positions alone.
    """
    hidden, embedding = config["hidden_size"], config["embedding_size"]
    layer = 4 * hidden**2 + 2 * hidden * config["intermediate_size"] + 2 * LENGTH * hidden
    token = config["num_hidden_layers"] * layer + embedding * hidden
    head = PREDICTIONS * (hidden * embedding + embedding * config["vocab_size"]) + hidden**2
    return 3 * 2 * BATCH * (LENGTH * token + head)


def costs(folder: str = "train") -> str:
    """The table of the time and the price of the published run: a row for each configuration, a column a machine."""
    configs = ROOT.glob("stages/tpu_train/configs/*.json")
    models = {path.stem: operations(json.loads(path.read_text())) for path in configs}
    lines = [f"| model | operations a step | {' | '.join(MACHINES)} |", "| --- | --- |" + " --- |" * len(MACHINES)]
    for name, step in sorted(sorted(models.items()), key=lambda item: -item[1]):
        cells = [f"`{name.partition('_')[0]}` `{name.rpartition('_')[2]}`", f"{step / 1e12:.0f} T"]
        for peak, share, dollars in MACHINES.values():
            seconds = STEPS * step / (peak * share)
            days = f"{seconds / DAY:.1f} days" if seconds > DAY else f"{seconds / 3600:.0f} h"
            cells.append(f"{days}, ${seconds / 3600 * dollars:,.0f}")
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def current(readme: Path, text: str) -> str:
    """The text of a README with its tables as they follow from code."""
    tables = {"options": options, "costs": costs}
    return MARKED.sub(lambda match: f"{match[1]}{match[2]}\n{tables[match[1]](readme.parent.name)}\n", text)


def main(arguments: list[str]) -> int:
    """Write every table that is not current; with --check, name their files and end with 1."""
    readmes = {path: path.read_text(encoding="utf-8") for path in sorted(ROOT.glob("stages/*/README.md"))}
    stale = [path for path, text in readmes.items() if current(path, text) != text]
    if stale and "--check" in arguments:
        names = ", ".join(str(path.relative_to(ROOT)) for path in stale)
        print(f"{names}: a table changed; make fix", file=sys.stderr)
        return 1
    for path in stale:
        path.write_text(current(path, readmes[path]), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
