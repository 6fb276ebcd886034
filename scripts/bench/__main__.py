"""The stages' real commands and their yardsticks, measured in turn → a table, results.json, speed.png and speed.svg."""

import argparse
import dataclasses
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from scripts.bench.comparisons import GROUPS
from scripts.bench.extrapolation import extrapolate, lines
from scripts.bench.machine import machine, versions
from scripts.bench.material import FULL, QUICK, Material
from scripts.bench.plot import plot
from scripts.bench.rows import Row
from scripts.bench.table import notes, table
from stages.command.options import HelpFormatter
from stages.command.progress import duration
from stages.command.refusal import Refusal
from stages.command.running import run
from stages.handover.manifests import write_json

METHOD = (
    "Each side runs in its stage's environment, the two in turn; the best round of each counts, but for words, where "
    "all parts of the text do, and two workers (the median). CPU time on one core unless it says wall time. Peak "
    "memory is that of the process."
)


QUICK_SAID = "Quick sizes: mostly the time to start. They show that it works and say nothing about speed."


def parse(arguments: list[str]) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser("bench", description=__doc__, formatter_class=HelpFormatter)
    parser.add_argument("--out", default="bench", metavar="DIR", help="folder for the results")
    parser.add_argument("--only", metavar="NAMES", help=f"some of {','.join(GROUPS)}, separated by commas")
    parser.add_argument("--quick", action="store_true", help="tiny sizes, to see that it works; misses no bar")
    given = parser.parse_args(arguments)
    given.only = given.only.split(",") if given.only else list(GROUPS)
    unknown = [name for name in given.only if name not in GROUPS]
    if unknown:
        raise Refusal(f"--only {unknown[0]} is none of {', '.join(GROUPS)}")
    return given


def main(arguments: list[str]) -> None:
    """Measure, tell, and end with 1 where a bar of a full run is missed or outputs differ."""
    given = parse(arguments)
    out = Path(given.out)
    out.mkdir(parents=True, exist_ok=True)
    size = QUICK if given.quick else FULL
    start = time.monotonic()
    about: dict[str, Any] = {"machine": machine(), "versions": versions(), "size": size.name, "method": METHOD}
    with tempfile.TemporaryDirectory(dir=out, prefix=".work-") as work:
        material = Material(Path(work), size)
        about["data"] = material.said
        rows = measured(given.only, material)
    about["seconds"] = round(time.monotonic() - start, 1)
    report(rows, about, out)
    missed = [row for row in rows if row.equal is False or (row.holds is False and not given.quick)]
    if missed:
        print(f"bench: missed: {', '.join(row.name for row in missed)}", file=sys.stderr)
        sys.exit(1)


def measured(groups: list[str], material: Material) -> list[Row]:
    """The rows of the groups, told on standard error as they come."""
    rows: list[Row] = []
    for name in groups:
        start = time.monotonic()
        print(f"bench: {name} …", file=sys.stderr, flush=True)
        rows += GROUPS[name](material)
        print(f"bench: {name} took {duration(time.monotonic() - start)}", file=sys.stderr, flush=True)
    return rows


def report(rows: list[Row], about: dict[str, Any], out: Path) -> None:
    """Print the table and write the files."""
    extrapolated = extrapolate(rows) if about["size"] == FULL.name else None
    results = [{**dataclasses.asdict(row), "holds": row.holds} for row in rows]
    write_json(str(out / "results.json"), {**about, "rows": results, "extrapolation": extrapolated})
    here, made = about["machine"], about["versions"]
    commit = f"commit {made['commit'][:10]}{' and changes' * made['changed_since']}" if made["commit"] else "no commit"
    judged = [QUICK_SAID] if about["size"] == QUICK.name else []
    told = (
        f"{here['processor']}, {here['cores']} cores, {here['memory'] / 1e9:.0f} GB, {here['system']}; "
        f"Python {made['tfrecords']['python']}; {commit}"
    )
    title = "Japanese ALBERT pipeline: how much faster than its yardsticks"
    files = plot(rows, title, "\n".join([about["data"], told, *judged]), out)
    block = ["", *lines(extrapolated)] if extrapolated else []
    print("\n".join([*table(rows), "", about["data"], told, METHOD, *judged, "", *notes(rows), *block]))
    print(f"bench: wrote {', '.join(map(str, [out / 'results.json', *files]))}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(run("bench", main, resumes=False))
