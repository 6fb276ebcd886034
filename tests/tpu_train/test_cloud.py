"""Training from a bucket and into it, by copies: killed on one machine, continued on the next, converted from there."""

import hashlib
import json
import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from stages.handover import cloud_storage, storage
from tests.emulator import BUCKET, PASSING, UNAVAILABLE, Proxy

ROOT = Path(__file__).resolve().parents[2]
PYTHON = ROOT / ".venv" / "tpu-train" / "bin" / "python"
RUN = f"gs://{BUCKET}/training"
OUT = f"{RUN}/checkpoints/character/tiny"


def read(path: str) -> bytes:
    with storage.reading(path) as stream:
        return stream.read()


def whole_checkpoints() -> set[str]:
    """The checkpoints in the bucket. Whatever the list names is there."""
    found = set(storage.names(OUT))
    if "checkpoint" in found:
        listed = {line.split('"')[1] for line in read(f"{OUT}/checkpoint").decode().splitlines()}
        assert {name + part for name in listed for part in (".index", ".data-00000-of-00001")} <= found
    return {name.removesuffix(".index") for name in found if name.endswith(".index")}


def test_a_run_in_a_bucket_goes_on_from_there(
    bucket: Proxy, tfrecords: Path, config: Path, run_stage: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STORAGE_PATIENCE", "30")
    cloud_storage._client_of.cache_clear()
    for path in tfrecords.iterdir():
        cloud_storage.upload(str(path), f"{RUN}/tfrecords/character/{path.name}")
    vocabulary = f"{RUN}/vocab/character/vocab.txt"
    cloud_storage.upload(f"{tfrecords}.vocab.txt", vocabulary)
    arguments = ["--tfrecords", f"{RUN}/tfrecords/character", "--vocab", vocabulary, "--config", config, "--out", OUT]
    arguments += ["--device", "cpu", "--batch", 16, "--steps", 40, "--save-every", 20, "--eval-batch", 16]
    machines = [tmp_path / "one", tmp_path / "two"]
    for machine in machines:
        machine.mkdir()

    command = [str(PYTHON), "-m", "stages.tpu_train", *map(str, arguments)]
    if not PYTHON.exists():
        pytest.skip(f"{PYTHON} is missing; run make venv")
    with subprocess.Popen(command, cwd=ROOT, env={**os.environ, "TMPDIR": str(machines[0])}) as first:
        deadline = time.monotonic() + 240
        while "model.ckpt-20" not in whole_checkpoints():
            assert first.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.5)  # Asking takes processor time that training needs.
        first.send_signal(signal.SIGKILL)
    assert "manifest.json" not in storage.names(OUT)
    # What the end of its lease does, half a minute later.
    storage.remove(f"{OUT}/.lock")

    bucket.every(9, PASSING)
    done = run_stage("tpu_train", *arguments, env={"TMPDIR": str(machines[1])})
    assert min(bucket.injected[fault] for fault in PASSING) > 0
    bucket.calm()
    how, fetching, resuming, *_ = done.stderr.splitlines()
    assert how == f"tpu-train: gs:// by copies in {machines[1]}, uploaded with every checkpoint (--storage staged)"
    assert fetching.startswith("tpu-train: fetching 4 files, ")
    assert resuming == "tpu-train: resuming from step 20"
    assert done.stdout.startswith(f"{OUT}/model.ckpt-best: step ")
    assert list(machines[1].iterdir()) == []

    assert {"model.ckpt-0", "model.ckpt-20", "model.ckpt-40", "model.ckpt-best"} == whole_checkpoints()
    assert [json.loads(line)["step"] for line in read(f"{OUT}/eval_results.jsonl").splitlines()] == [0, 20, 40]
    steps = [line.split("\t")[0] for line in read(f"{OUT}/train_loss.tsv").decode().splitlines()]
    assert steps == ["step", *map(str, range(1, 41))]
    manifest = json.loads(read(f"{OUT}/manifest.json"))
    assert "model.ckpt-best.reference.npz" in manifest["files"]
    for name, described in manifest["files"].items():
        assert hashlib.sha256(read(f"{OUT}/{name}")).hexdigest() == described["sha256"], name

    best, model = f"{OUT}/model.ckpt-best", tmp_path / "model"
    converted = ["--checkpoint", best, "--config", f"{OUT}/albert_config.json", "--vocab", vocabulary, "--out", model]
    assert "largest difference from TensorFlow" in run_stage("convert", *converted, "--verify").stderr

    # A bucket that does not answer is no reason to give up for good.
    monkeypatch.setenv("STORAGE_PATIENCE", "1")
    bucket.every(1, (UNAVAILABLE,))
    assert "Cloud Storage does not answer as it should (503)" in run_stage("tpu_train", *arguments, code=75).stderr


def test_what_does_not_go_with_an_emulator(
    bucket: Proxy, config: Path, run_stage: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STORAGE_PATIENCE", "10")
    folders = ["--tfrecords", f"{RUN}/none", "--out", f"gs://no-{BUCKET}/out", "--config", config]
    told = run_stage("tpu_train", *folders, "--device", "cpu", "--storage", "native", code=2).stderr.splitlines()
    assert told[0] == "tpu-train: TensorFlow reads and writes gs:// itself (--storage native)"
    for line, part in zip(
        told[1:],
        ("reaches Google alone, not STORAGE_EMULATOR_HOST", "no files match gs://", f"no bucket gs://no-{BUCKET}"),
        strict=True,
    ):
        assert part in line
