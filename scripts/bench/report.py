"""The frame of both benches: groups of rows, measured in turn → a table, a JSON file, pictures and an exit code."""

import argparse
import dataclasses
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from scripts.bench.extrapolation import extrapolate, lines
from scripts.bench.machine import machine, versions
from scripts.bench.material import Material, Size
from scripts.bench.rows import Row
from scripts.bench.table import table
from stages.command.options import HelpFormatter
from stages.command.progress import duration
from stages.command.refusal import Refusal
from stages.handover.manifests import write_json


class Bench(NamedTuple):
    """One of the benches. `footer`: packages that the line below the table names, with their stages."""

    name: str
    description: str | None
    file: str
    title: str
    method: str
    groups: dict[str, Callable[[Material], Iterator[Row]]]
    packages: dict[str, list[str]]
    footer: dict[str, str]
    full: Size
    quick: Size
    plot: Callable[[list[Row], str, str, Path], list[Path]]

    def parse(self, arguments: list[str]) -> argparse.Namespace:
        """The command line. Refuses groups that do not exist."""
        parser = argparse.ArgumentParser(self.name, description=self.description, formatter_class=HelpFormatter)
        names = f"some of {', '.join(self.groups)}"
        parser.add_argument("--out", default="bench", metavar="DIR", help="folder for the results")
        parser.add_argument("--only", nargs="+", default=list(self.groups), metavar="NAME", help=names)
        parser.add_argument("--quick", action="store_true", help="tiny sizes, to see that it works; misses no bar")
        if "soak" in self.groups:
            parser.add_argument("--minutes", type=float, metavar="N", help="of full load (default: 10)")
        options = parser.parse_args(arguments)
        options.only = [name for word in options.only for name in word.split(",")]
        for name in options.only:
            if name not in self.groups:
                raise Refusal(f"--only {name} is none of {', '.join(self.groups)}")
        return options

    def main(self, arguments: list[str]) -> None:
        """Measure and report. Exit code 1: outputs differ, or a full run misses a bar."""
        options = self.parse(arguments)
        size = self.quick if options.quick else self.full
        if getattr(options, "minutes", None):
            size = dataclasses.replace(size, soak_minutes=options.minutes)
        out = Path(options.out)
        out.mkdir(parents=True, exist_ok=True)
        start = time.monotonic()
        about: dict[str, Any] = {"machine": machine(), "versions": versions(self.packages)}
        about |= {"size": size.name, "method": self.method}
        rows: list[Row] = []
        with tempfile.TemporaryDirectory(dir=out, prefix=".work-") as work:
            material = Material(Path(work), size)
            about["data"] = material.description
            try:
                self.measure(options.only, material, rows)
            finally:
                # Also after a refusal or an interruption.
                if rows:
                    about["seconds"] = round(time.monotonic() - start, 1)
                    self.report(rows, about, out)
        missed = [row.name for row in rows if row.equal is False or (row.holds is False and not options.quick)]
        if missed:
            print(f"{self.name}: missed: {', '.join(missed)}", file=sys.stderr)
            sys.exit(1)

    def measure(self, names: list[str], material: Material, rows: list[Row]) -> None:
        """Add the rows of the groups; standard error shows the progress."""
        for name in names:
            start = time.monotonic()
            print(f"{self.name}: {name} …", file=sys.stderr, flush=True)
            rows += self.groups[name](material)
            print(f"{self.name}: {name} took {duration(time.monotonic() - start)}", file=sys.stderr, flush=True)

    def report(self, rows: list[Row], about: dict[str, Any], out: Path) -> None:
        """Print the table and write the files."""
        extrapolation = extrapolate(rows) if about["size"] == "full" else None
        results = [{**dataclasses.asdict(row), "ratio": row.ratio, "holds": row.holds} for row in rows]
        write_json(str(out / self.file), {**about, "rows": results, "extrapolation": extrapolation})
        computer, software = about["machine"], about["versions"]
        memory = f"{computer['memory'] / 1e9:.0f} GB"
        place = [
            f"{computer['processor']}, {computer['cores']} cores, {memory}, {computer['system']}",
            *(f"{name.replace('python', 'Python')} {software[stage][name]}" for name, stage in self.footer.items()),
            f"commit {software['commit'] or 'unknown'}",
        ]
        head = [about["data"], "; ".join(place)]
        if about["size"] == "quick":
            head.append("Quick sizes: mostly the time to start. They show that it works and say nothing about speed.")
        files = self.plot(rows, self.title, "\n".join(head), out)
        notes = [f"{row.group}, {row.name}: {row.note}" for row in rows if row.note]
        print("\n".join([*table(rows), "", *head, self.method, "", *notes, *lines(extrapolation)]))
        print(f"{self.name}: wrote {', '.join(map(str, [out / self.file, *files]))}", file=sys.stderr)
