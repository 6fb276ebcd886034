"""A small random model, the tasks' files, and one fine-tuning of each that the tests share."""

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.finetune.samples import characters, write_task

ROOT = Path(__file__).resolve().parents[2]
PYTHON = ROOT / ".venv" / "train" / "bin" / "python"
# Small models on two threads wait for one another more than they compute.
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), "PYTHONUTF8": "1"}
Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="session")
def train_python() -> Run:
    """Run .venv/train's Python: `train_python("-m", …, code=0)`. No refusal shows a traceback."""
    if not PYTHON.exists():
        pytest.skip(f"{PYTHON} is missing; run make venv")

    def run(*arguments: object, code: int = 0) -> Any:
        command = [str(PYTHON), *map(str, arguments)]
        done = subprocess.run(command, capture_output=True, encoding="utf-8", cwd=ROOT, env=ENVIRONMENT, timeout=300)
        assert done.returncode == code, f"exit code {done.returncode}, not {code}:\n{done.stdout}\n{done.stderr}"
        assert code == 0 or "Traceback" not in done.stderr
        return done

    return run


def command(folder: Path, task: str, out: Path, *more: object) -> list[str]:
    """A command line for the small model."""
    options = ["--task", task, "--dataset", folder / task, "--model", folder / "model", "--out", out]
    # Two tasks use bfloat16 where it is faster.
    precision = "auto" if task in ("jsick", "ner") else "float32"
    return [*map(str, options), "--device", "cpu", "--precision", precision, "--batch", "8", *map(str, more)]


# The arguments that leave the small model with all of a task's examples learned.
LEARNED = {
    "jnli": ["--learning-rate", "1e-2", "--epochs", "2", "40"],
    "jsts": ["--learning-rate", "1e-2", "--epochs", "30"],
    "jcommonsenseqa": ["--learning-rate", "1e-2", "--epochs", "25"],
    "marc-ja": ["--learning-rate", "1e-2", "--epochs", "12", "--seed", "1", "2"],
    "jsquad": ["--learning-rate", "1e-2", "--epochs", "40"],
    "jsick": ["--learning-rate", "1e-2", "--epochs", "40"],
    "ner": ["--learning-rate", "1e-2", "--epochs", "40"],
}


class Learned(NamedTuple):
    """Finished runs: their folder, exit codes, the predictions of the saved models, the records of a killed run."""

    folder: Path
    codes: dict[str, int]
    predictions: dict[str, Any]
    killed: dict[str, int]  # record → when it was written

    def out(self, name: str) -> Path:
        return self.folder / "out" / name

    def results(self, name: str) -> dict[str, Any]:
        results: dict[str, Any] = json.loads((self.out(name) / "results.json").read_text())
        return results

    def best(self, name: str) -> dict[str, Any]:
        """The best run's figures on the dev set."""
        results = self.results(name)
        (figures,) = (each["dev"] for each in results["runs"] if each["name"] == results["best"])
        assert isinstance(figures, dict)
        return figures


@pytest.fixture(scope="session")
def learned(train_python: Run, tmp_path_factory: pytest.TempPathFactory) -> Learned:
    """Every task fine-tuned on its few examples, and measured on the same; JNLI also killed and resumed."""
    folder = tmp_path_factory.mktemp("finetune")
    for task in LEARNED:
        write_task(folder / task, task)
    commands = {task: command(folder, task, folder / "out" / task, *more) for task, more in LEARNED.items()}
    commands["killed"] = command(folder, "jnli", folder / "out" / "killed", *LEARNED["jnli"])
    scratch = ["--learning-rate", "1e-2", "--epochs", "2", "3", "--scratch"]
    commands["scratch"] = command(folder, "jsick", folder / "out" / "scratch", *scratch)
    passes = ["--learning-rate", "1e-2", "--epochs", "2", "--micro-batch", "4"]
    commands["two passes"] = command(folder, "jnli", folder / "out" / "two passes", *passes)
    script = Path(__file__).parent / "fine_tune_all.py"
    result = json.loads(train_python(script, folder, characters(), json.dumps(commands)).stdout)
    return Learned(folder, result["codes"], result["predictions"], result["killed"])
