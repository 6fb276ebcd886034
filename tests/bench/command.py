"""The benches' commands, as make runs them."""

import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def bench(
    module: str, *arguments: object, code: int = 0, needs: tuple[str, ...] = ()
) -> "subprocess.CompletedProcess[str]":
    """Run a bench in .venv/bench; skipped where that, or an environment of `needs`, is missing."""
    for name in ("bench", *needs):
        if not (ROOT / ".venv" / name / "bin" / "python").exists():
            pytest.skip(f".venv/{name} is missing; run make venv/{name}")
    command = [str(ROOT / ".venv/bench/bin/python"), "-m", module, *map(str, arguments)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, encoding="utf-8", timeout=600)
    assert done.returncode == code, f"exit code {done.returncode}, not {code}:\n{done.stdout}\n{done.stderr}"
    return done
