"""A small flow that every fault is done to, and its undisturbed runs, made when they are first asked for."""

from pathlib import Path

import pytest

from tests.convert.conftest import checkpoints as checkpoints
from tests.torture.flow import Flow
from tests.torture.runs import python

ARTICLES = 900


@pytest.fixture(scope="session")
def flow(tmp_path_factory: pytest.TempPathFactory) -> Flow:
    """Dumps of 900 articles, the stages' commands on them, and what those end in undisturbed. Read only."""
    for stage in ("corpus", "vocab", "tfrecords"):
        if not python(stage).exists():
            pytest.skip(f"{python(stage)} is missing; run make venv")
    return Flow(tmp_path_factory.mktemp("flow") / "clean", ARTICLES, copies=8)


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """Where a command that is disturbed writes to."""
    return tmp_path / "out"
