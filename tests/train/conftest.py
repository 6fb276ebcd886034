"""How the tests of training run a program where PyTorch is, or TensorFlow 1.15."""

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).resolve().parent
Program = Callable[..., str]


def _in_environment(name: str) -> Program:
    python = ROOT / ".venv" / name / "bin" / "python"
    if not python.exists():
        pytest.skip(f"{python} is missing; run make venv")

    def run(*arguments: object, code: int = 0, env: dict[str, str] | None = None) -> str:
        done = subprocess.run(
            [str(python), *map(str, arguments)],
            capture_output=True,
            encoding="utf-8",
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1", **(env or {})},
            timeout=600,
        )
        assert done.returncode == code, f"exit code {done.returncode}, not {code}:\n{done.stdout}\n{done.stderr}"
        return done.stdout

    return run


@pytest.fixture(scope="session")
def train_python() -> Program:
    """Run Python in the environment of `train`: `train_python("-m", …, code=0, env={})` gives what it printed."""
    return _in_environment("train")


@pytest.fixture(scope="session")
def tensorflow_python() -> Program:
    """The same in the environment of `tpu-train`."""
    return _in_environment("tpu-train")
