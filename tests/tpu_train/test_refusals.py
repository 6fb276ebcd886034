"""Input that the training command refuses: exit code 2 and one line that says what and what to do."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Change = Callable[[Any], None]
TPU = ("--device", "tpu", "--eval-batch", "8")
FIRST = "pretrain_00000.tfrecord.gz"


def altered(path: Path, change: Change) -> None:
    value = json.loads(path.read_text())
    change(value)
    path.write_text(json.dumps(value))


@pytest.fixture
def refused(tfrecords: Path, config: Path, run_stage: Any, tmp_path: Path) -> Callable[..., str]:
    """Run the command on a copy of the inputs; returns its lines, one for each reason. `out` is not touched."""
    folder, own = tmp_path / "tfrecords", tmp_path / "albert.json"
    shutil.copytree(tfrecords, folder)
    shutil.copy(config, own)

    def run(*flags: object, reasons: int = 1) -> str:
        out = tmp_path / "out"
        common = ["--tfrecords", folder, "--config", own, "--out", out, "--device", "cpu", "--steps", "100"]
        error = run_stage("tpu_train", *common, *flags, code=2).stderr
        assert [line for line in error.splitlines() if not line.startswith("tpu-train: error: ")] == []
        assert error.count("\n") == reasons, error
        assert not out.exists()
        return str(error)

    return run


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        ([*TPU], "needs its name (TPU_NAME=…, --tpu-name)"),
        ([*TPU], "DEVICE=cpu (--device cpu) trains on this machine"),
        (
            [*TPU, "--batch", "12", "--tpu-name", "grpc://10.0.0.2:8470"],
            "a Cloud TPU reads and writes gs:// only; --tf",
        ),
        ([*TPU, "--batch", "12", "--tpu-name", "grpc://10.0.0.2:8470"], "--batch 12 is not a multiple of the 8 TPU c"),
        ([*TPU, "--tpu-name", "node"], "cannot find the TPU node: "),
        (["--warmup", "101"], "--warmup 101 is longer than the run of --steps 100"),
        (["--seq-length", "32"], "was made with --seq-length 16, not 32"),
        (["--max-predictions", "20"], "was made with --max-predictions 3, not 20"),
        (["--held-out", "4"], "has 4 file(s) with examples and 4 would be held out"),
        (["--config", "missing.json"], "cannot read missing.json: No such file"),
        (["--tfrecords", "missing"], "no files match missing/*.tfrecord.gz; make tfrecords writes them"),
        (["--tfrecords", "stages"], "no files match stages/*.tfrecord.gz"),
        (["--init-checkpoint", "missing/model.ckpt"], "no readable TensorFlow checkpoint missing/model.ckpt"),
    ],
)
def test_flags(refused: Callable[..., str], flags: list[str], told: str) -> None:
    assert told in refused(*flags, reasons=2 if "--tpu-name" in flags else 1)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda c: c.update(vocab_size=41), "was made with a vocabulary of 40, "),
        (lambda c: c.update(max_position_embeddings=8), "holds sequences of 16 tokens, "),
        (lambda c: c.pop("hidden_size"), "has no hidden_size"),
        (lambda c: c.update(num_hidden_layers="2"), "says num_hidden_layers '2'"),
        (lambda c: c.update(num_attention_heads=5), "hidden_size 24 is not a multiple of num_attention_heads 5"),
        (lambda c: c.update(hidden_act="gelu_new"), "hidden_act 'gelu_new' is none of gelu, relu"),
    ],
)
def test_configuration(refused: Callable[..., str], tmp_path: Path, change: Change, told: str) -> None:
    altered(tmp_path / "albert.json", change)
    error = refused()
    assert told in error
    assert str(tmp_path / "albert.json") in error


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda m: m["files"].update({"x.tfrecord.gz": m["files"][FIRST]}), "lists x.tfrecord.gz, which is missing"),
        (lambda m: m["files"][FIRST].update(bytes=1), f"{FIRST} has not the 1 bytes that its manifest says"),
        (lambda m: [f.update(examples=0) for f in m["files"].values()], "holds no examples"),
        (lambda m: [m["files"][n].update(examples=0) for n in sorted(m["files"])[1:]], "SHARDS (2 or more)"),
        (lambda m: m.pop("vocabulary"), "is not what tfrecords writes ('vocabulary')"),
        (lambda m: m.update(stage="corpus"), "is not a manifest of tfrecords"),
    ],
)
def test_manifest_of_the_tfrecords(refused: Callable[..., str], tmp_path: Path, change: Change, told: str) -> None:
    altered(tmp_path / "tfrecords" / "manifest.json", change)
    assert told in refused()


def test_tfrecords_that_are_not_finished(refused: Callable[..., str], tmp_path: Path) -> None:
    (tmp_path / "tfrecords" / "manifest.json").rename(tmp_path / "tfrecords" / "run.json")
    assert "is not finished" in refused()


def test_tfrecords_without_a_manifest(refused: Callable[..., str], tmp_path: Path) -> None:
    (tmp_path / "tfrecords" / "manifest.json").unlink()
    assert "has no manifest that gives a vocabulary size" in refused("--vocab-size-from-tfrecords")
    altered(tmp_path / "albert.json", lambda c: c.update(vocab_size=20))
    assert "holds token id 39; " in refused()
    (tmp_path / "tfrecords" / FIRST).write_bytes(b"no gzip")
    assert f"{FIRST} is no gzip TFRecords file, or is damaged" in refused()


def test_the_folder_of_another_run(trained: Any, run_stage: Any) -> None:
    for flag, value, told in (
        ("--steps", "90", "options.steps was 60 and is now 90"),
        ("--learning-rate", "0.1", "options.learning_rate was 0.05 and is now 0.1"),
        ("--held-out", "2", "inputs.tfrecords.held_out was"),
    ):
        refused = run_stage("tpu_train", *trained.arguments, flag, value, code=2)
        assert f"{trained.out} was made with other options or inputs: {told}" in refused.stderr


def test_a_folder_of_other_files(tfrecords: Path, config: Path, run_stage: Any, tmp_path: Path) -> None:
    (tmp_path / "letter.txt").write_text("Dear reader")
    arguments = ["--tfrecords", tfrecords, "--config", config, "--out", tmp_path, "--device", "cpu"]
    assert (
        "holds files that are not of a tpu-train run (letter.txt)" in run_stage("tpu_train", *arguments, code=2).stderr
    )


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda c: c.update(hidden_size=48), "has variable bert/encoder/embedding_hidden_mapping_in/kernel of shape"),
        (lambda c: c.update(inner_group_num=2), "has no variable bert/encoder/transformer/group_0/inner_group_1/"),
    ],
)
def test_reference_of_another_architecture(
    trained: Any, config: Path, training_python: Any, tmp_path: Path, change: Change, told: str
) -> None:
    other = tmp_path / "other.json"
    shutil.copy(config, other)
    altered(other, change)
    arguments = ["--checkpoint", trained.out / "model.ckpt-best", "--config", other, "--out", tmp_path / "r.npz"]
    error = training_python("-m", "stages.tpu_train.reference", *arguments, code=2).stderr
    assert told in error
    assert "Traceback" not in error
    assert not (tmp_path / "r.npz").exists()


def test_every_reason_is_told_at_once(refused: Callable[..., str], tfrecords: Path, tmp_path: Path) -> None:
    altered(tmp_path / "albert.json", lambda c: c.update(vocab_size=41, max_position_embeddings=8))
    (tmp_path / "file").touch()
    vocabulary = tmp_path / "vocab.txt"
    shutil.copy(f"{tfrecords}.vocab.txt", vocabulary)
    with vocabulary.open("a") as stream:
        stream.write("漢\n")
    flags = ["--warmup", "101", "--seq-length", "32", "--vocab", vocabulary, "--out", tmp_path / "file" / "out"]
    lines = refused(*flags, "--check", reasons=6).splitlines()
    for line, told in zip(
        lines,
        (
            "--warmup 101 is longer",
            "was made with --seq-length 16, not 32",
            "has max_position_embeddings 8",
            "was made with a vocabulary of 40",
            f"{vocabulary} is not the vocabulary that ",
            f"cannot write to {tmp_path}/file/out: Not a directory",
        ),
        strict=True,
    ):
        assert told in line
    missing = refused("--vocab", tmp_path / "no.txt", "--warmup", "101", "--tfrecords", tmp_path / "none", reasons=3)
    assert (
        f"there is no vocabulary {tmp_path}/no.txt (No such file or directory); convert will need it: copy" in missing
    )


def test_only_checking_says_what_is_there_and_writes_nothing(
    tfrecords: Path, config: Path, run_stage: Any, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    arguments = ["--tfrecords", tfrecords, "--config", config, "--out", out, "--device", "cpu", "--check"]
    done = run_stage("tpu_train", *arguments, "--vocab", f"{tfrecords}.vocab.txt")
    digest = json.loads((tfrecords / "manifest.json").read_text())["vocabulary"]["sha256"]
    assert done.stderr == ""
    assert done.stdout.splitlines() == [
        f"tfrecords  {tfrecords}: 3 files to train on, 1 held out with 40 examples; 16 tokens, 3 predictions",
        f"config     {config}: 2 layers of 24, vocabulary of 40",
        f"vocab      {tfrecords}.vocab.txt: 40 entries, SHA-256 {digest[:12]}…",
        f"out        {out} can be written",
        "versions   Python 3.7.16, TensorFlow 1.15.5, ALBERT with the patch for gzip",
    ]
    assert list(tmp_path.iterdir()) == []
