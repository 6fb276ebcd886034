"""Small models of the sample corpus, its TFRecords, and one evaluation that the tests share."""

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

ROOT = Path(__file__).resolve().parents[2]
PYTHON = ROOT / ".venv" / "train" / "bin" / "python"
Run = Callable[..., "subprocess.CompletedProcess[str]"]
LIMITS = ["--examples", 30, "--sentences", 4, "--baseline-records", 50, "--batch", 8, "--device", "cpu"]
# The stage's command, by the environment whose toolchain it shares.
STAGE = ["-m", "stages.evaluate"]


@pytest.fixture(scope="session")
def train_python() -> Run:
    """Run .venv/train's Python: `train_python("-m", …, code=0)`. No refusal shows a traceback."""
    if not PYTHON.exists():
        pytest.skip(f"{PYTHON} is missing; run make venv")

    def run(*arguments: object, code: int = 0) -> Any:
        done = subprocess.run(
            [str(PYTHON), *map(str, arguments)],
            capture_output=True,
            encoding="utf-8",
            cwd=ROOT,
            # Small models on two threads wait for one another more than they compute.
            env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)},
            timeout=600,
        )
        assert done.returncode == code, f"exit code {done.returncode}, not {code}:\n{done.stdout}\n{done.stderr}"
        assert code == 0 or "Traceback" not in done.stderr
        return done

    return run


class Inputs(NamedTuple):
    """Folders of one vocabulary, and a model of another one."""

    corpus: Path
    tfrecords: Path
    model: Path
    same_vocabulary: Path
    wordpiece: Path


@pytest.fixture(scope="session")
def inputs(
    run_stage: Run, train_python: Run, corpus: Path, vocab: Path, tmp_path_factory: pytest.TempPathFactory
) -> Inputs:
    """TFRecords of 64 tokens in three files, of which the last is held out; three models. Read only."""
    folder = tmp_path_factory.mktemp("evaluate")
    options = ["--seq-length", 64, "--dupe-factor", 1, "--max-predictions", 10, "--jobs", 2]
    run_stage("tfrecords", "--corpus", corpus, "--vocab", vocab, "--out", folder / "tfrecords", *options)
    models = [("character", "character", 1), ("other", "character", 2), ("words", "wordpiece", 3)]
    arguments: list[object] = []
    for name, subwords, seed in models:
        vocabulary = vocab / ("character" if subwords == "character" else "wordpiece_tinysegmenter") / "vocab.txt"
        arguments += [vocabulary, subwords, folder / name, seed]
    train_python(Path(__file__).parent / "make_model.py", *arguments)
    return Inputs(corpus, folder / "tfrecords" / "character", *(folder / name for name, _, _ in models))


class Evaluation(NamedTuple):
    """A finished run: its command line, its folder, its numbers, its page, what it printed."""

    arguments: list[object]
    out: Path
    report: dict[str, Any]
    page: str
    stdout: str


# Two runs in one process: loading the libraries takes ten times as long as evaluating these models.
TWICE = """
import sys
from stages.evaluate.__main__ import main
for out in sys.argv[1:3]:
    main([*sys.argv[3:], "--out", out])
"""


def evaluate(train_python: Run, out: Path, *arguments: object) -> Evaluation:
    """Run the stage's command to its end."""
    command = [*STAGE, *arguments, "--out", out, *LIMITS]
    return read(out, command, train_python(*command).stdout)


def read(out: Path, command: list[object], stdout: str) -> Evaluation:
    """The output of a run."""
    page = (out / "report.html").read_text(encoding="utf-8")
    return Evaluation(command, out, json.loads((out / "evaluation.json").read_text()), page, stdout)


@pytest.fixture(scope="session")
def evaluation(train_python: Run, inputs: Inputs, tmp_path_factory: pytest.TempPathFactory) -> Evaluation:
    """A model beside another one of its vocabulary, with sentences of the corpus."""
    out = tmp_path_factory.mktemp("evaluation") / "out"
    options = ["--compare", inputs.same_vocabulary, "--corpus", inputs.corpus]
    return evaluate(train_python, out, "--model", inputs.model, "--tfrecords", inputs.tfrecords, *options)
