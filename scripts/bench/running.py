"""A command of a stage's environment → what it printed, the time it took and its peak memory."""

import json
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

from stages.command.refusal import Refusal

ROOT = Path(__file__).resolve().parents[2]
LAUNCH = ROOT / "scripts" / "bench" / "measured" / "launch.py"
# Libraries that would start threads of their own: what is measured per core must run on one.
ONE_CORE = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "RAYON_NUM_THREADS": "1",
    "TOKENIZERS_PARALLELISM": "false",
}


class Ran(NamedTuple):
    """One process from start to end: seconds of wall and CPU time, peak memory in bytes, its standard output.

    CPU time counts the processes that it started as well; the peak is that of the largest single one.
    """

    wall: float
    cpu: float
    peak: int
    output: str


class Measured(NamedTuple):
    """What one side of a comparison did: `amount` units in `cpu` or `wall` seconds, with `peak` bytes of memory.

    `said` is everything that a measuring program reports, `sha256` of what it made among it.
    """

    amount: float
    cpu: float
    wall: float
    peak: int
    said: dict[str, Any]


def python(stage: str) -> str:
    """The interpreter of a stage's environment."""
    path = ROOT / ".venv" / stage / "bin" / "python"
    if not path.exists():
        raise Refusal(f"there is no {path.relative_to(ROOT)}; make venv/{stage} makes it")
    return str(path)


def run(stage: str, module: str, *arguments: object, one_core: bool = True) -> Ran:
    """Run `python -m module arguments…` in the stage's environment, as its users do; it must succeed."""
    command = [python(stage), "-m", module, *map(str, arguments)]
    environment = {**os.environ, **(ONE_CORE if one_core else {})}
    # Where this is set, Python compiles its modules anew at each start; the images hold them compiled.
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    with (
        tempfile.NamedTemporaryFile("r") as report,
        tempfile.TemporaryFile("w+") as output,
        tempfile.TemporaryFile("w+") as errors,
    ):
        launcher = [sys.executable, "-I", "-S", str(LAUNCH), report.name, *command]
        process = subprocess.Popen(
            launcher, cwd=ROOT, env=environment, stdout=output, stderr=errors, start_new_session=True
        )
        try:
            process.wait()
        except BaseException:
            os.killpg(process.pid, signal.SIGTERM)
            process.wait()
            raise
        told = json.load(report)
        output.seek(0)
        errors.seek(0)
        if told["code"]:
            raise Refusal(f"{' '.join(command)} ended with {told['code']}:\n{errors.read().strip()[-2000:]}")
        return Ran(told["wall"], told["cpu"], told["peak"], output.read())


def measure(stage: str, program: str, *arguments: object, one_core: bool = True) -> Measured:
    """Run one of `scripts/bench/measured`: the times are those it reports, without its start."""
    ran = run(stage, f"scripts.bench.measured.{program}", *arguments, one_core=one_core)
    said = json.loads(ran.output)
    return Measured(said["amount"], said["cpu"], said["wall"], ran.peak, said)
