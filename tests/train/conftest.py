"""The training environment's Python, for programs and for the stage's own command."""

import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
PYTHON = ROOT / ".venv" / "train" / "bin" / "python"
TENSORFLOW = ROOT / ".venv" / "tpu-train" / "bin" / "python"


def run(python: Path, *arguments: object, code: int = 0, **more: Any) -> "subprocess.CompletedProcess[str]":
    """Run an environment's Python; the exit code is asserted."""
    done = subprocess.run(
        [str(python), *map(str, arguments)],
        capture_output=True,
        encoding="utf-8",
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), **more.pop("env", {})},
        timeout=600,
        **more,
    )
    assert done.returncode == code, f"exit code {done.returncode}, not {code}:\n{done.stdout}\n{done.stderr}"
    return done


@pytest.fixture(scope="session")
def train_python() -> Callable[..., "subprocess.CompletedProcess[str]"]:
    """Run the environment of `train`: `train_python("-m", …, code=0, env={})`."""
    if not PYTHON.exists():
        pytest.skip(f"{PYTHON} is missing; run make venv/train")
    return lambda *arguments, **more: run(PYTHON, *arguments, **more)


@pytest.fixture(scope="session")
def tensorflow_python() -> Callable[..., "subprocess.CompletedProcess[str]"]:
    """Run the environment of `tpu-train`."""
    if not TENSORFLOW.exists():
        pytest.skip(f"{TENSORFLOW} is missing; run make venv/tpu-train")
    return lambda *arguments, **more: run(TENSORFLOW, *arguments, **more)
