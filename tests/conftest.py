"""What every test may ask for: a stage's real command, the sample corpus, the shared real data when it is there."""

import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from tests.emulator import bucket, emulator  # noqa: F401 - fixtures for every folder

# A shell has what it starts in the background ignore Ctrl-C, and so would every stage that a test interrupts.
signal.signal(signal.SIGINT, signal.default_int_handler)

# How long an example takes says nothing of what it shows, and much of what else the machine does.
settings.register_profile("project", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("project")

ROOT = Path(__file__).resolve().parent.parent
Run = Callable[..., "subprocess.CompletedProcess[str]"]


def stage_command(stage: str) -> list[str]:
    """The command line of a stage in its own virtual environment (`make venv` makes them)."""
    python = ROOT / ".venv" / stage.replace("_", "-") / "bin" / "python"
    if not python.exists():
        pytest.skip(f"{python} is missing; run make venv")
    return [str(python), "-m", f"stages.{stage.replace('-', '_')}"]


@pytest.fixture(scope="session")
def run_stage() -> Run:
    """Run a stage's command: `run_stage("corpus", "--dump", path, …, code=0, stdin=None, env={})`.

    Asserts the exit code, and that no refusal (2) shows a traceback. Returns the completed process with
    `stdout` and `stderr` as text.
    """

    def run(
        stage: str, *arguments: object, code: int = 0, stdin: str | None = None, env: dict[str, str] | None = None
    ) -> Any:
        done = subprocess.run(
            [*stage_command(stage), *map(str, arguments)],
            input=stdin,
            capture_output=True,
            encoding="utf-8",
            cwd=ROOT,
            env={**os.environ, **(env or {})},
            timeout=1800,
        )
        assert done.returncode == code, f"exit code {done.returncode}, not {code}:\n{done.stdout}\n{done.stderr}"
        if code == 2:
            assert "Traceback" not in done.stderr
        return done

    return run


SAMPLE = ROOT / "scripts" / "sample" / "jasample-cirrussearch-content.json"
SHARED = ROOT.parent / "shared" / "data"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real Wikipedia text and the published vocabularies, where a machine has them."""
    if not SHARED.is_dir():
        pytest.skip(f"{SHARED} is not there: real Wikipedia text and the published vocabularies")
    return SHARED


@pytest.fixture(scope="session")
def corpus(run_stage: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sample corpus in three shards, made by the real command. Read only."""
    out = tmp_path_factory.mktemp("sample") / "corpus"
    run_stage("corpus", "--dump", SAMPLE, "--out", out, "--shards", 3, "--jobs", 2)
    return out


@pytest.fixture(scope="session")
def vocab(run_stage: Run, corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Vocabularies of the sample corpus: 3,000 WordPieces, at most 1,200 characters. Read only."""
    out = tmp_path_factory.mktemp("sample") / "vocab"
    run_stage("vocab", "--corpus", corpus, "--out", out, "--vocab-size", 3000, "--alphabet-size", 1200)
    return out


@pytest.fixture(scope="session")
def models_with_onnx(vocab: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`character/tiny` and `wordpiece_tinysegmenter/tiny` with random weights and model.onnx. Read only.

    What PyTorch fills into some texts is in `filled.json` there: see tests/tokenizer/make_models.py.
    """
    python = ROOT / ".venv/convert/bin/python"
    if not python.exists():
        pytest.skip(f"{python} is missing; run make venv")
    out = tmp_path_factory.mktemp("served") / "models"
    script = [python, ROOT / "tests/tokenizer/make_models.py", vocab, out]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1"}
    subprocess.run(script, cwd=ROOT, env=environment, check=True, timeout=300)
    return out
