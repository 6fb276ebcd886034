"""The frame of both benches: groups of rows, measured in turn → a table, a JSON file, pictures and an exit code."""

import argparse
import dataclasses
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from scripts.bench.machine import machine, versions
from scripts.bench.table import BRIEF, notes, table
from stages.command.options import HelpFormatter
from stages.command.progress import duration
from stages.handover.manifests import write_json


def parser(name: str, description: str | None, **only: Any) -> argparse.ArgumentParser:
    """The options of both benches; `only` describes --only."""
    options = argparse.ArgumentParser(name, description=description, formatter_class=HelpFormatter)
    options.add_argument("--out", default="bench", metavar="DIR", help="folder for the results")
    options.add_argument("--only", **only)
    options.add_argument("--quick", action="store_true", help="tiny sizes, to see that it works; misses no bar")
    return options


class Bench(NamedTuple):
    """One of the benches. Its rows and material are those that its groups name."""

    name: str
    file: str
    title: str
    method: str
    quick_note: str
    groups: dict[str, Callable[[Any], Iterator[Any]]]
    packages: dict[str, list[str]]
    # Packages that the table's footer names, with their stages.
    footer: dict[str, str]
    plot: Callable[[list[Any], str, str, Path], list[Path]]
    # Bare values: rows without costs, in a table without stages.
    brief: bool = False
    # Rows that came before a refusal or an interruption are reported as well.
    partial: bool = False
    # Rows of a full run → a value of the JSON file, and the lines below the table.
    extrapolate: Callable[[list[Any]], Any] | None = None
    lines: Callable[[Any], list[str]] = list

    def run(self, options: argparse.Namespace, material_of: Callable[[Path, Any], Any], size: Any) -> None:
        """Measure and report. Exit code 1: outputs differ, or a full run misses a bar."""
        out = Path(options.out)
        out.mkdir(parents=True, exist_ok=True)
        start = time.monotonic()
        about = {"machine": machine(), "versions": versions(self.packages), "size": size.name, "method": self.method}
        rows: list[Any] = []
        with tempfile.TemporaryDirectory(dir=out, prefix=".work-") as work:
            material = material_of(Path(work), size)
            about["data"] = material.description
            complete = False
            try:
                self.measure(options.only, material, rows)
                complete = True
            finally:
                if rows and (complete or self.partial):
                    about["seconds"] = round(time.monotonic() - start, 1)
                    self.report(rows, about, out)
        missed = [row.name for row in rows if row.equal is False or (row.holds is False and not options.quick)]
        if missed:
            print(f"{self.name}: missed: {', '.join(missed)}", file=sys.stderr)
            sys.exit(1)

    def measure(self, names: list[str], material: Any, rows: list[Any]) -> None:
        """Add the rows of the groups; standard error shows the progress."""
        for name in names:
            start = time.monotonic()
            print(f"{self.name}: {name} …", file=sys.stderr, flush=True)
            rows += self.groups[name](material)
            print(f"{self.name}: {name} took {duration(time.monotonic() - start)}", file=sys.stderr, flush=True)

    def report(self, rows: list[Any], about: dict[str, Any], out: Path) -> None:
        """Print the table and write the files."""
        results = [{**dataclasses.asdict(row), "ratio": row.ratio, "holds": row.holds} for row in rows]
        if self.brief:
            for result in results:
                result |= {side: result[side] and result[side]["value"] for side in ("ours", "yardstick")}
        about = {**about, "rows": results}
        extrapolation = None
        if self.extrapolate:
            extrapolation = self.extrapolate(rows) if about["size"] == "full" else None
            about["extrapolation"] = extrapolation
        write_json(str(out / self.file), about)
        computer, software = about["machine"], about["versions"]
        commit = "no commit"
        if software["commit"]:
            commit = f"commit {software['commit'][:10]}{' and changes' * software['changed_since']}"
        packages = ", ".join(
            f"{package.replace('python', 'Python')} {software[stage][package]}"
            for package, stage in self.footer.items()
        )
        hardware = f"{computer['processor']}, {computer['cores']} cores, {computer['memory'] / 1e9:.0f} GB"
        place = f"{hardware}, {computer['system']}; {packages}; {commit}"
        quick = [self.quick_note] if about["size"] == "quick" else []
        files = self.plot(rows, self.title, "\n".join([about["data"], place, *quick]), out)
        columns = BRIEF if self.brief else slice(None)
        lines = ["", about["data"], place, self.method, *quick, "", *notes(rows, columns)]
        lines += ["", *self.lines(extrapolation)] if extrapolation else []
        print("\n".join([*table(rows, columns), *lines]))
        print(f"{self.name}: wrote {', '.join(map(str, [out / self.file, *files]))}", file=sys.stderr)
