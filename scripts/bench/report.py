"""The frame of both benches: groups of rows, measured in turn → a table, a JSON file, pictures and an exit code."""

import argparse
import dataclasses
import json
import os
import platform
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from scripts.bench.extrapolation import extrapolate, lines
from scripts.bench.material import QUICK, Material, Size
from scripts.bench.rows import Row, short
from scripts.bench.running import ROOT, execute, python
from stages.command.options import HelpFormatter
from stages.command.progress import duration
from stages.command.refusal import Refusal
from stages.engine.options import cores
from stages.handover.manifests import write_json

VERSIONS = """
import importlib.metadata, json, platform, sys
print(json.dumps({"python": platform.python_version(), **{n: importlib.metadata.version(n) for n in sys.argv[1:]}}))
"""
RIGHT = {"here", "yardstick", "ratio", "bar", "CPU s", "peak MB"}


@dataclasses.dataclass(frozen=True)
class Bench:
    """One of the benches.

    `packages`: those of each stage's environment on which its speed depends. `footer`: packages that the line below
    the table names, with their stages.
    """

    name: str
    description: str | None
    file: str
    title: str
    method: str
    groups: dict[str, Callable[[Material], Iterator[Row]]]
    packages: dict[str, list[str]]
    footer: dict[str, str]
    full: Size
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
        size = QUICK if options.quick else self.full
        if minutes := vars(options).get("minutes"):
            size = dataclasses.replace(size, soak_minutes=minutes)
        out = Path(options.out)
        out.mkdir(parents=True, exist_ok=True)
        start = time.monotonic()
        about: dict[str, Any] = {
            "machine": machine(),
            "versions": versions(self.packages),
            "size": size.name,
            "method": self.method,
        }
        rows: list[Row] = []
        with tempfile.TemporaryDirectory(dir=out, prefix=".work-") as work:
            material = Material(Path(work), size)
            about["data"] = material.description
            try:
                for name in options.only:
                    begin = time.monotonic()
                    self.log(f"{name} …")
                    rows += self.groups[name](material)
                    self.log(f"{name} took {duration(time.monotonic() - begin)}")
            finally:
                # Also after a refusal or an interruption.
                if rows:
                    about["seconds"] = round(time.monotonic() - start, 1)
                    self.report(rows, about, out)
        missed = [row.name for row in rows if row.equal is False or (row.holds is False and not options.quick)]
        if missed:
            self.log(f"missed: {', '.join(missed)}")
            sys.exit(1)

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
        self.log(f"wrote {', '.join(map(str, [out / self.file, *files]))}")

    def log(self, line: str) -> None:
        """A line on standard error."""
        print(f"{self.name}: {line}", file=sys.stderr, flush=True)


def machine() -> dict[str, Any]:
    """Processor, cores this process may use, memory in bytes, system, and its load average before."""
    names = re.findall(r"^model name\s*: (.*)", Path("/proc/cpuinfo").read_text(encoding="utf-8"), re.MULTILINE)
    return {
        "processor": names[0] if names else platform.machine(),
        "cores": cores(),
        "memory": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "load_before": round(os.getloadavg()[0], 2),
    }


def versions(packages: dict[str, list[str]]) -> dict[str, Any]:
    """Python and packages of each stage's environment, and the commit of the checkout (empty where there is none)."""
    describe = ["git", "describe", "--always", "--exclude=*", "--abbrev=10", "--dirty"]
    try:
        commit = subprocess.run(describe, cwd=ROOT, capture_output=True, encoding="utf-8").stdout.strip()
    except FileNotFoundError:
        commit = ""
    commands = {stage: [python(stage), "-c", VERSIONS, *names] for stage, names in packages.items()}
    return {"commit": commit, **{stage: json.loads(execute(command).output) for stage, command in commands.items()}}


def table(rows: list[Row]) -> list[str]:
    """Lines of Markdown that read well on a terminal, without empty columns. Costs: ours, then the yardstick's."""
    every, columns = [_cells(row) for row in rows], []
    for head in every[0]:
        cells, right = [each[head] for each in every], head in RIGHT
        if any(cells):
            width = max(map(len, [head, *cells]))
            line = "-" * (width - 1) + "-:"[right]
            columns.append([cell.rjust(width) if right else cell.ljust(width) for cell in (head, line, *cells)])
    return [f"| {' | '.join(cells)} |" for cells in zip(*columns, strict=True)]


def _cells(row: Row) -> dict[str, str]:
    sides = [side for side in (row.ours, row.yardstick) if side and side.cpu_seconds]
    holds = "" if row.holds is None else "yes" if row.holds else "NO"
    if row.equal is not None and row.bar is None:
        holds = "same output"
    if row.equal is False:
        holds = "NO: outputs differ"
    return {
        "stage": row.group,
        "what": row.name,
        "unit": row.unit,
        "here": short(row.ours.value) if row.ours else "not here",
        "yardstick": short(row.yardstick.value) if row.yardstick else "",
        "": row.yardstick_name,
        "ratio": "" if row.ratio is None else f"{short(row.ratio)} ×",
        "bar": str(row.bar or ""),
        "holds": holds,
        "CPU s": " / ".join(short(side.cpu_seconds) for side in sides),
        "peak MB": " / ".join(f"{side.peak_memory / 1e6:.0f}" for side in sides),
    }
