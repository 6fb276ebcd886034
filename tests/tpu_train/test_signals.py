"""Preemption: a signal in training saves that step, one elsewhere ends immediately, and the same command resumes."""

import json
import random
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
PYTHON = ROOT / ".venv" / "tpu-train" / "bin" / "python"


class Running:
    """The training command, started; `ended` gives its exit code and what it said."""

    def __init__(self, out: Path, *arguments: object) -> None:
        if not PYTHON.exists():
            pytest.skip(f"{PYTHON} is missing; run make venv")
        self.out = out
        self.graph = out / "graph.pbtxt"
        self.before = self.graph.stat().st_mtime_ns if self.graph.exists() else 0
        command = [str(PYTHON), "-m", "stages.tpu_train", *map(str, arguments), "--out", str(out)]
        self.process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, encoding="utf-8")

    def trains(self) -> None:
        """Wait until the first step is computed: the graph is written just before."""
        deadline = time.monotonic() + 120
        while not (self.graph.exists() and self.graph.stat().st_mtime_ns > self.before):
            assert self.process.poll() is None, self.process.communicate()[1]
            assert time.monotonic() < deadline
            time.sleep(0.01)

    def listens(self) -> None:
        """Wait until the command answers signals itself; TensorFlow is then still to be loaded."""
        deadline = time.monotonic() + 120
        while True:
            caught = Path(f"/proc/{self.process.pid}/status").read_text().partition("SigCgt:\t")[2][:16]
            if int(caught, 16) >> (signal.SIGTERM - 1) & 1:
                return
            assert time.monotonic() < deadline
            time.sleep(0.01)

    def ended(self) -> tuple[int, str]:
        _, said = self.process.communicate(timeout=240)
        return self.process.returncode, said


def arguments_of(tfrecords: Path, config: Path, batch: int) -> list[object]:
    recipe = ["--steps", 100, "--save-every", 100, "--eval-batch", 16, "--batch", batch]
    return ["--tfrecords", tfrecords, "--config", config, "--device", "cpu", *recipe]


def test_stopped_and_killed_at_random_moments_every_step_is_there_once(
    tfrecords: Path, config: Path, run_stage: Any, tmp_path: Path
) -> None:
    out, moment = tmp_path / "out", random.Random().uniform
    arguments = arguments_of(tfrecords, config, 64)
    steps: list[int] = []
    for signum, code in ((signal.SIGTERM, 143), (signal.SIGKILL, -9), (signal.SIGINT, 130)):
        running = Running(out, *arguments)
        running.trains()
        time.sleep(moment(0, 0.5))
        running.process.send_signal(signum)
        ended, said = running.ended()
        assert ended == code, said
        if steps:
            assert f"tpu-train: resuming from step {steps[-1]}\n" in said
        if signum == signal.SIGKILL:
            continue
        assert f"tpu-train: {signum.name}: stopping after this step" in said
        steps.append(json.loads(said.partition("stopped at step ")[2].partition(",")[0]))
        assert said.endswith(f"stopped at step {steps[-1]}, checkpoint saved; the same command resumes\n")
        assert (out / f"model.ckpt-{steps[-1]}.index").exists()
    assert 0 < steps[0] < steps[1]

    # A checkpoint of which one byte is wrong is never trained on, nor left out without a word.
    newest = out / f"model.ckpt-{steps[-1]}.data-00000-of-00001"
    whole = newest.read_bytes()
    newest.write_bytes(whole[:1000] + bytes([whole[1000] ^ 4]) + whole[1001:])
    refused = run_stage("tpu_train", *arguments, "--out", out, code=2).stderr
    assert refused.startswith(f"tpu-train: error: the checkpoint {out}/model.ckpt-{steps[-1]} is damaged (")
    assert f"remove {out}/model.ckpt-{steps[-1]}.*, and the same command resumes from model.ckpt-{steps[0]}" in refused
    newest.write_bytes(whole)

    done = run_stage("tpu_train", *arguments, "--out", out)
    assert f"tpu-train: {100 - steps[-1]} steps, " in done.stderr
    rows = [line.split("\t")[0] for line in (out / "train_loss.tsv").read_text().splitlines()]
    assert rows == ["step", *map(str, range(1, 101))]
    # What is compared is what an undisturbed run compares.
    evaluated = [json.loads(line)["step"] for line in (out / "eval_results.jsonl").read_text().splitlines()]
    assert evaluated == [0, 100]


def test_a_second_signal_and_one_before_training_end_immediately(tfrecords: Path, config: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    # A step of 12,000 examples takes seconds, in which Python does not get to its signal handlers: they get to
    # both signals together, behind a step of less than stopping.GRACE, or never, behind a longer one.
    running = Running(out, *arguments_of(tfrecords, config, 12_000))
    running.trains()
    time.sleep(0.5)
    running.process.send_signal(signal.SIGTERM)
    assert running.process.stderr is not None
    while "SIGTERM: stopping after this step" not in (line := running.process.stderr.readline()):
        assert line, running.ended()
    running.process.send_signal(signal.SIGTERM)
    start = time.monotonic()
    code, said = running.ended()
    assert (code, time.monotonic() - start < 6) == (143, True), said
    assert said.endswith("tpu-train: interrupted; the same command resumes\n")
    assert not list(out.glob("model.ckpt-1.*"))

    for signum, code in ((signal.SIGTERM, 143), (signal.SIGINT, 130)):
        running = Running(tmp_path / signum.name, *arguments_of(tfrecords, config, 8))
        running.listens()
        time.sleep(random.uniform(0, 1.5))
        running.process.send_signal(signum)
        start = time.monotonic()
        ended, said = running.ended()
        # Where the signal comes while Python runs a `__del__` of TensorFlow's, Python prints the exception and goes
        # on; stopping.Stop then ends the process after its GRACE.
        assert said.endswith("tpu-train: interrupted; the same command resumes\n"), said
        assert (ended, time.monotonic() - start < 6) == (code, True), said
