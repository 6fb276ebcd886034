"""A training run that finds its disk full, or its folder taken. How it is killed and stopped is in tests/tpu_train."""

import signal
from pathlib import Path

import pytest

from tests.torture.faults import small_disk
from tests.torture.runs import Run, files, finish, kill, refused, run, wait_for
from tests.tpu_train.conftest import config as config
from tests.tpu_train.conftest import tfrecords as tfrecords
from tests.tpu_train.conftest import training_python as training_python


@pytest.fixture
def training(tfrecords: Path, config: Path) -> list[object]:
    """The flags of a run of two steps, but for `--out`."""
    sizes = ("--batch", 8, "--eval-batch", 8, "--eval-steps", 1, "--steps", 2, "--save-every", 2)
    return ["--tfrecords", tfrecords, "--config", config, "--device", "cpu", *sizes]


def test_a_training_run_waits_for_room_and_owns_its_folder(training: list[object], tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", 900_000) as grow:
        if grow is None:
            pytest.skip("this user may not mount a small disk")
        arguments = [*training, "--out", tmp_path / "disk" / "out"]
        refused(run("tpu-train", arguments), 75, f"cannot write to {tmp_path}/disk/out", "No space left", "make room")
        grow(1 << 26)
        with Run("tpu-train", arguments) as first:
            # The owner is written once the file is locked.
            lock = tmp_path / "disk" / "out" / ".lock"
            wait_for(lambda: (lock.exists() and lock.read_text()) or first.process.poll() is not None, "not begun")
            kill(first.process.pid, signal.SIGSTOP)
            refused(run("tpu-train", arguments), 75, f"is being written by process {first.process.pid} on")
            kill(first.process.pid, signal.SIGCONT)
            assert first.end().code == 0
        made = set(files(tmp_path / "disk" / "out"))
        assert {"manifest.json", "model.ckpt-2.index", "model.ckpt-best.index"} <= made
        assert not [name for name in made if "tmp" in name or "temp" in name or name.startswith(".")]
        assert finish("tpu-train", arguments).code == 0
