"""All stages in a row by make, in virtual environments, on the sample: what a person does first, smaller."""

import json
import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
# What one stage is told, the next finds in a manifest.
SIZES = (
    "DUMP=scripts/sample/jasample-cirrussearch-content.json", "SHARDS=3", "VOCAB_SIZE=2500", "ALPHABET_SIZE=1000",
    "SEQ_LENGTH=32", "DUPE_FACTOR=1",
)  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if not (ROOT / ".venv/tpu-train/bin/python").exists():
        pytest.skip("CPython 3.7 is missing, which trains; make doctor says more")
    return tmp_path_factory.mktemp("pipeline")


def environment() -> dict[str, str]:
    """The environment without the variables of the make that runs the tests."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}


def make(folder: Path, *words: str, code: int = 0) -> "subprocess.CompletedProcess[str]":
    done = subprocess.run(
        ["make", "--no-print-directory", "RUNNER=venv", f"DATA={folder}/data", f"MODELS={folder}/models", *words],
        cwd=ROOT, env=environment(), capture_output=True, encoding="utf-8",
    )  # fmt: skip
    # make itself turns any failure into 2.
    assert done.returncode == code, done.stdout + done.stderr
    return done


def test_the_whole_flow_for_both_models(folder: Path) -> None:
    make(folder, "corpus", "vocab", "tfrecords", *SIZES)
    for model in ("wordpiece", "character"):
        make(
            folder,
            "tpu-train",
            f"MODEL={model}",
            "SIZE=tiny",
            "DEVICE=cpu",
            "BATCH=4",
            "STEPS=2",
            "FLAGS=--eval-steps=1",
        )
    done = make(folder, "convert", "SIZE=tiny")
    assert done.stderr.count("largest difference from TensorFlow") == 2
    text = "吾輩は[MASK]である。"
    tokens = make(folder, "tokenize", "MODEL=character", "SIZE=tiny", f"TEXT={text}").stdout.split()
    assert tokens[2:] == ["は", "[MASK]", "で", "あ", "る", "。"]

    for model in ("wordpiece_tinysegmenter", "character"):
        vocabulary = json.loads((folder / "data/vocab/manifest.json").read_text())["files"][f"{model}/vocab.txt"]
        config = json.loads((folder / "models" / model / "tiny/config.json").read_text())
        assert config["vocab_size"] == vocabulary["entries"], "the small vocabulary's true size reaches the model"
        parity = json.loads((folder / "models" / model / "tiny/manifest.json").read_text())["parity"]
        assert max(parity.values()) < 1e-4


def test_the_same_commands_again_do_nothing(folder: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}
    assert len(before) > 30
    done = make(folder, "corpus", "vocab", "tfrecords", *SIZES)
    assert done.stderr.count("finished already") == 3
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()} == before


def test_other_options_are_refused(folder: Path) -> None:
    done = make(folder, "tfrecords", "SEQ_LENGTH=64", "DUPE_FACTOR=1", code=2)
    assert "options.seq_length was 32 and is now 64" in done.stderr
    done = make(folder, "tpu-train", "MODEL=character", code=2)
    assert "DEVICE=cpu" in done.stderr
    done = make(folder, "convert", "MODEL=character", "SIZE=base", code=2)
    assert "make tpu-train" in done.stderr


def test_the_page_of_commands_trains_a_model(tmp_path: Path) -> None:
    """scripts/pretrain.sh on the sample, with two steps."""
    variables = {name: value for name, _, value in (size.partition("=") for size in SIZES)}
    places = {"DATA": f"{tmp_path}/data", "MODELS": f"{tmp_path}/models", "RUNNER": "venv"}
    sizes = {"STEPS": "2", "BATCH": "2", "DEVICE": "cpu", "SIZE": "tiny"}
    done = subprocess.run(
        ["scripts/pretrain.sh"],
        cwd=ROOT, env={**environment(), **variables, **places, **sizes}, capture_output=True, encoding="utf-8",
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.split()[-6:] == ["き", "を", "し", "ま", "す", "。"]
    assert (tmp_path / "models/character/tiny/model.safetensors").exists()
    assert (tmp_path / "data/evaluations/character/tiny/report.html").exists()
