"""The tokenizer's image, command, service and masks beside their yardsticks → a table, serve.json and pictures."""

import argparse
import dataclasses
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from scripts.bench.machine import machine, versions
from scripts.bench.serve.command import command
from scripts.bench.serve.image import image, start
from scripts.bench.serve.masks import masks
from scripts.bench.serve.material import FULL, QUICK, Material
from scripts.bench.serve.plot import plot
from scripts.bench.serve.rows import Row, notes, table
from scripts.bench.serve.service import http
from scripts.bench.serve.soak import soak
from stages.command.options import HelpFormatter
from stages.command.progress import duration
from stages.command.running import run
from stages.handover.manifests import write_json

GROUPS: dict[str, Callable[[Material], Iterator[Row]]] = {
    "image": image,
    "start": start,
    "command": command,
    "http": http,
    "fill-mask": masks,
    "soak": soak,
}
# What each side's speed depends on.
PACKAGES = {
    "tokenizer": ["numpy", "tinysegmenter3", "onnxruntime", "orjson"],
    "serve": ["fastapi", "uvicorn", "uvloop", "httptools"],
    "convert": ["torch", "transformers"],
}
METHOD = (
    "Both sides of a ratio run in turn, in one run. `here` is the tokenizer; a ratio is here by yardstick. "
    "The models are the tiny ones of the recipe, with random weights."
)
QUICK_SAID = "Quick sizes: they show that it works and say nothing about speed; they miss no bar."


def parse(arguments: list[str]) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser("bench-serve", description=__doc__, formatter_class=HelpFormatter)
    parser.add_argument("--out", default="bench", metavar="DIR", help="folder for the results")
    parser.add_argument(
        "--only", nargs="+", default=list(GROUPS), choices=GROUPS, metavar="NAME", help=f"some of {', '.join(GROUPS)}"
    )
    parser.add_argument("--quick", action="store_true", help="tiny sizes, to see that it works; misses no bar")
    parser.add_argument("--minutes", type=float, metavar="N", help="of full load (default: 10)")
    return parser.parse_args(arguments)


def main(arguments: list[str]) -> None:
    """Measure and tell. A bar that is missed is told as well, and ends with 1, as with `make bench`."""
    given = parse(arguments)
    out = Path(given.out)
    out.mkdir(parents=True, exist_ok=True)
    size = QUICK if given.quick else FULL
    if given.minutes:
        size = dataclasses.replace(size, soak_minutes=given.minutes)
    begin = time.monotonic()
    about: dict[str, Any] = {
        "machine": machine(),
        "versions": versions(PACKAGES),
        "size": size.text.name,
        "method": METHOD,
    }
    with tempfile.TemporaryDirectory(dir=out, prefix=".work-") as work:
        material = Material(Path(work), size)
        about["data"] = material.text.said
        rows: list[Row] = []
        try:
            measure(given.only, material, rows)
        finally:
            # What was measured before a refusal, or an interruption, is told as well.
            if rows:
                about["seconds"] = round(time.monotonic() - begin, 1)
                report(rows, about, out)
    missed = [row.name for row in rows if row.equal is False or (row.holds is False and not given.quick)]
    if missed:
        print(f"bench-serve: missed: {', '.join(missed)}", file=sys.stderr)
        sys.exit(1)


def measure(groups: list[str], material: Material, rows: list[Row]) -> None:
    """Add the rows of the groups, told on standard error as they come."""
    for name in groups:
        begin = time.monotonic()
        print(f"bench-serve: {name} …", file=sys.stderr, flush=True)
        rows += GROUPS[name](material)
        print(f"bench-serve: {name} took {duration(time.monotonic() - begin)}", file=sys.stderr, flush=True)


def report(rows: list[Row], about: dict[str, Any], out: Path) -> None:
    """Print the table and write the files."""
    results = [{**dataclasses.asdict(row), "ratio": row.ratio, "holds": row.holds} for row in rows]
    write_json(str(out / "serve.json"), {**about, "rows": results})
    here, made = about["machine"], about["versions"]
    commit = f"commit {made['commit'][:10]}{' and changes' * made['changed_since']}" if made["commit"] else "no commit"
    told = (
        f"{here['processor']}, {here['cores']} cores, {here['memory'] / 1e9:.0f} GB, {here['system']}; "
        f"Python {made['tokenizer']['python']}, onnxruntime {made['tokenizer']['onnxruntime']}, "
        f"torch {made['convert']['torch']}; {commit}"
    )
    judged = [QUICK_SAID] if about["size"] == QUICK.text.name else []
    title = "The tokenizer as a command and a service: how far from its bars"
    files = plot(rows, title, "\n".join([about["data"], told, *judged]), out)
    print("\n".join([*table(rows), "", about["data"], told, METHOD, *judged, "", *notes(rows)]))
    print(f"bench-serve: wrote {', '.join(map(str, [out / 'serve.json', *files]))}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(run("bench-serve", main, resumes=False))
