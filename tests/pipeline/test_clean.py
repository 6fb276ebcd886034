"""make clean and make clean-all: what they remove, what they leave, and what holds them off."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from stages.handover import lock

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The script in a folder of its own: it removes caches and compiled C beside itself."""
    (tmp_path / "tests").mkdir()
    shutil.copytree(ROOT / "scripts", tmp_path / "scripts", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(
        ROOT / "stages", tmp_path / "stages", ignore=shutil.ignore_patterns("__pycache__", "*.so", "released")
    )
    for name in (
        "corpus/00000.txt",
        "corpus/.00001.txt.partial",
        "downloads/.dump.partial",
        "runs/best/state",
        "mine/a",
    ):
        path = tmp_path / "data" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return tmp_path


def clean(copy: Path, target: str, **variables: str) -> "subprocess.CompletedProcess[str]":
    environment = {"PATH": os.environ["PATH"], "DATA": "data", "MODELS": "models", **variables}
    command = [str(copy / "scripts" / "clean"), target]
    return subprocess.run(command, cwd=copy, env=environment, capture_output=True, encoding="utf-8")


def left(copy: Path) -> list[str]:
    return sorted(str(path.relative_to(copy / "data")) for path in (copy / "data").rglob("*") if path.is_file())


def test_clean_leaves_data_and_half_a_download(copy: Path) -> None:
    assert clean(copy, "clean").returncode == 0
    assert left(copy) == ["corpus/00000.txt", "downloads/.dump.partial", "mine/a", "runs/best/state"]


def test_clean_waits_for_a_running_stage(copy: Path) -> None:
    """A run would finish without the files that were removed under it."""
    lock.hold(str(copy / "data" / "corpus"))
    try:
        done = clean(copy, "clean")
        assert done.returncode == 75
        owner = f"process {os.getpid()} on {os.uname().nodename}"
        assert done.stderr == f"clean: data/corpus is being written by {owner}; wait for its end\n"
        assert "corpus/.00001.txt.partial" in left(copy)
    finally:
        lock.release(str(copy / "data" / "corpus"))
    assert clean(copy, "clean").returncode == 0


def test_clean_all_removes_what_stages_write_after_consent(copy: Path) -> None:
    done = clean(copy, "clean-all")
    assert (done.returncode, len(left(copy))) == (2, 5)
    assert "CONFIRM=1" in done.stderr
    assert clean(copy, "clean-all", CONFIRM="1").returncode == 0
    assert left(copy) == ["mine/a"]
