"""A container that may have too little memory: it is told what happened, and with more the same command resumes."""

import os
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.containers import left_out
from tests.torture.flow import articles, dump
from tests.torture.runs import ROOT, compare, files, finish

pytestmark = pytest.mark.skipif(left_out() is not None, reason=str(left_out()))
# Python and the stage alone take some 60 MB; the buffers of a corpus and its workers more.
TOO_LITTLE, ENOUGH = "24m", "1g"


@pytest.fixture
def folder() -> Iterator[Path]:
    """Not in pytest's own folder, which no other user may enter."""
    with tempfile.TemporaryDirectory(prefix="albert-ja-") as made:
        Path(made).chmod(0o755)
        yield Path(made)


def make(folder: Path, **variables: str) -> "subprocess.CompletedProcess[str]":
    given = {"RUNNER": "docker", "DATA": f"{folder}/data", "DUMP": f"{folder}/dump.json", "SHARDS": "3", **variables}
    words = ["make", "--no-print-directory", "corpus", *(f"{name}={value}" for name, value in given.items())]
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
    return subprocess.run(words, cwd=ROOT, env=environment, capture_output=True, encoding="utf-8", timeout=600)


def test_a_container_without_memory_is_told_and_the_command_goes_on_with_more(folder: Path) -> None:
    (folder / "dump.json").write_bytes(dump(articles(2000, 1)))
    ended = make(folder, MEMORY=TOO_LITTLE, JOBS="2")
    # make's own 2 is for any failure; it says the stage's.
    assert ended.returncode == 2
    assert "Error 137" in ended.stderr or "Error 75" in ended.stderr, ended.stderr
    assert "Traceback" not in ended.stderr
    (line,) = [line for line in ended.stderr.splitlines() if ": error: " in line]
    assert line.startswith("corpus: error: ")
    assert "for lack of memory" in line
    assert "the same command resumes" in line
    assert not list((folder / "data/corpus").glob("[!.]*.txt"))
    assert make(folder, MEMORY=ENOUGH, JOBS="1").returncode == 0
    finish("corpus", ["--dump", folder / "dump.json", "--shards", 3, "--out", folder / "here"])
    compare(folder / "data/corpus", files(folder / "here"), folder / "here")
