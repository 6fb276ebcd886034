"""Small TFRecords and one training run, killed and resumed, that the tests of the training stage share."""

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
PYTHON = ROOT / ".venv" / "tpu-train" / "bin" / "python"
CONFIG = {
    "vocab_size": 40,
    "embedding_size": 16,
    "hidden_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 48,
    "max_position_embeddings": 32,
    "type_vocab_size": 2,
    "num_hidden_groups": 1,
    "inner_group_num": 1,
    "hidden_act": "gelu",
    "hidden_dropout_prob": 0.0,
    "attention_probs_dropout_prob": 0.0,
    "initializer_range": 0.02,
}


@pytest.fixture(scope="session")
def training_python() -> Callable[..., "subprocess.CompletedProcess[str]"]:
    """Run the training stage's Python: `training_python("-m", …, code=0, env={})`."""
    if not PYTHON.exists():
        pytest.skip(f"{PYTHON} is missing; run make venv")

    def run(*arguments: object, code: int = 0, env: dict[str, str] | None = None) -> Any:
        done = subprocess.run(
            [str(PYTHON), *map(str, arguments)],
            capture_output=True,
            encoding="utf-8",
            cwd=ROOT,
            env={**os.environ, **(env or {})},
            timeout=600,
        )
        assert done.returncode == code, f"exit code {done.returncode}, not {code}:\n{done.stdout}\n{done.stderr}"
        return done

    return run


@pytest.fixture(scope="session")
def tfrecords(tmp_path_factory: pytest.TempPathFactory, training_python: Callable[..., Any]) -> Path:
    """Five files, 40 examples each but for an empty fourth: vocabulary 40, 16 tokens, 3 predictions."""
    # tests/faults asks as well, for a fixture of its own: TensorFlow writes them once.
    kept = tmp_path_factory.getbasetemp() / "training"
    if not kept.exists():
        folder = tmp_path_factory.mktemp("input")
        examples = Path(__file__).parent / "write_examples.py"
        training_python(examples, folder / "tfrecords", "40,40,40,0,40", 40, 16, 3)
        folder.rename(kept)
    return kept / "tfrecords"


@pytest.fixture(scope="session")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The configuration of a model with 5,000 parameters."""
    path = tmp_path_factory.mktemp("config") / "albert.json"
    path.write_text(json.dumps(CONFIG))
    return path


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory, run_stage: Any, tfrecords: Path, config: Path) -> Any:
    """A run of 60 steps, killed as soon as its first checkpoint was there, and finished by the same command.

    Its folder as `out`, its command line as `arguments`, the second command's process as `done`.
    """
    out = tmp_path_factory.mktemp("run") / "out"
    arguments = ["--tfrecords", tfrecords, "--config", config, "--out", out, "--device", "cpu", "--batch", "16"]
    arguments += ["--steps", "60", "--save-every", "20", "--eval-batch", "16", "--learning-rate", "0.05"]
    command = [str(PYTHON), "-m", "stages.tpu_train", *map(str, arguments)]
    state = out / "checkpoint"
    with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE) as first:
        deadline = time.monotonic() + 120
        while not (state.exists() and "ckpt-20" in state.read_text()):
            assert first.poll() is None, first.stderr.read().decode() if first.stderr else ""
            assert time.monotonic() < deadline
            time.sleep(0.02)
        first.send_signal(signal.SIGKILL)
    left = sorted(path.name for path in out.iterdir())
    return type(
        "Run", (), {"out": out, "arguments": arguments, "left": left, "done": run_stage("tpu_train", *arguments)}
    )
