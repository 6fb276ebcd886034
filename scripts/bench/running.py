"""A command → its output, its time and its peak memory; two sides of a comparison in turn."""

import dataclasses
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from operator import attrgetter
from pathlib import Path
from typing import Any, NamedTuple

from stages.command.refusal import Refusal

ROOT = Path(__file__).resolve().parents[2]
LAUNCH = ROOT / "scripts" / "bench" / "measured" / "launch.py"
# Without these, libraries start threads of their own; a measurement per core needs one thread.
ONE_CORE = {
    **dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "RAYON_NUM_THREADS"), "1"),
    "TOKENIZERS_PARALLELISM": "false",
}


@dataclasses.dataclass(frozen=True)
class Figure:
    """One side: its value in the row's unit, and its cost: seconds, and bytes of the largest process; 0: unknown."""

    value: float
    cpu_seconds: float = 0.0
    wall_seconds: float = 0.0
    peak_memory: int = 0


class Process(NamedTuple):
    """One process: seconds of wall and CPU time, peak memory in bytes, its standard output.

    CPU time counts its child processes as well; the peak is that of the largest single one. Of a measuring program,
    the times are those of its report, for `amount` units; the report has the `sha256` of its output.
    """

    wall: float
    cpu: float
    peak: int
    output: str
    amount: float = 0.0
    report: dict[str, Any] = {}  # noqa: RUF012

    def part(self, name: str) -> "Process":
        """The same process with the times of one part of its report."""
        return self._replace(**self.report[name])

    def figure(self, value: float) -> Figure:
        """A value with the cost of this process."""
        return Figure(value, self.cpu, self.wall, self.peak)


def best(processes: list[Process], seconds: str = "cpu", amount: float = 0) -> Figure:
    """Units per second of `cpu` or `wall` time in the best round: noise of other programs only ever adds time.

    amount: the units of a command, which reports none.
    """
    figures = (each.figure((amount or each.amount) / getattr(each, seconds)) for each in processes)
    return max(figures, key=attrgetter("value"))


def quickest(processes: list[Process]) -> Figure:
    """The wall time of the best round."""
    return min((each.figure(each.wall) for each in processes), key=attrgetter("value"))


def python(stage: str) -> str:
    """The interpreter of a stage's environment."""
    path = ROOT / ".venv" / stage / "bin" / "python"
    if not path.exists():
        raise Refusal(f"there is no {path.relative_to(ROOT)}; make venv/{stage} makes it")
    return str(path)


@contextmanager
def on_core(number: int) -> Iterator[None]:
    """Processes of the body run on one core: the first or second usable one, or the only one."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {sorted(before)[number % len(before)]})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def execute(command: list[str], one_core: bool = True, text: str = "") -> Process:
    """Run a command in the project's folder, with `text` as its standard input. Refuses a failure."""
    environment = {**os.environ, **(ONE_CORE if one_core else {})}
    # Where this is set, Python compiles its modules anew at each start; the images hold them compiled.
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    with (
        tempfile.NamedTemporaryFile("r") as report,
        tempfile.TemporaryFile("w+") as output,
        tempfile.TemporaryFile("w+") as errors,
    ):
        streams: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": output, "stderr": errors, "encoding": "utf-8"}
        launcher = [sys.executable, "-I", "-S", str(LAUNCH), report.name, *command]
        process = subprocess.Popen(launcher, cwd=ROOT, env=environment, start_new_session=True, **streams)
        try:
            process.communicate(text)
        except BaseException:
            os.killpg(process.pid, signal.SIGTERM)
            process.wait()
            raise
        costs = json.load(report)
        output.seek(0)
        errors.seek(0)
        if code := costs.pop("code"):
            raise Refusal(f"{' '.join(command)} ended with {code}:\n{errors.read().strip()[-2000:]}")
        return Process(**costs, output=output.read())


def run(stage: str, module: str, *arguments: object, one_core: bool = True) -> Process:
    """Run `python -m module arguments…` in the stage's environment, as its users do. Refuses a failure."""
    return execute([python(stage), "-m", module, *map(str, arguments)], one_core)


def measure(stage: str, program: str, *arguments: object, one_core: bool = True) -> Process:
    """Run one of `scripts/bench/measured`: the times are those of its report, without its start."""
    process = run(stage, "scripts.bench.measured", program, *arguments, one_core=one_core)
    report = json.loads(process.output)
    return process._replace(**{name: report[name] for name in ("amount", "cpu", "wall")}, report=report)


def take_turns(rounds: int, program: str, sides: dict[str, str], *arguments: object) -> list[list[Process]]:
    """Measure both sides in each round: `sides` names them, each with its stage."""
    pairs = [[measure(stage, program, side, *arguments) for side, stage in sides.items()] for _ in range(rounds)]
    return list(map(list, zip(*pairs, strict=True)))


def equal(ours: list[Process], yardstick: list[Process]) -> bool:
    """Whether both sides had the same output in every round."""
    return all(one.report["sha256"] == other.report["sha256"] for one, other in zip(ours, yardstick, strict=True))
