"""The training command: it learns, resumes, evaluates every checkpoint on what it did not train on, keeps the best."""

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np


def evaluations(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "eval_results.jsonl").read_text().splitlines()]


def losses(out: Path) -> list[tuple[int, float]]:
    heading, *rows = (out / "train_loss.tsv").read_text().splitlines()
    assert heading == "step\tloss"
    return [(int(step), float(loss)) for step, loss in (row.split("\t") for row in rows)]


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_killed_run_goes_on_from_its_last_checkpoint(trained: Any) -> None:
    assert "model.ckpt-20.index" in trained.left
    assert "manifest.json" not in trained.left
    # 40 of the 60 steps were left, and the checkpoint that was not evaluated yet was evaluated first.
    assert "tpu-train: 40 steps" in trained.done.stderr
    assert [row["step"] for row in evaluations(trained.out)] == [0, 20, 40, 60]
    steps = [step for step, _ in losses(trained.out)]
    assert steps == list(range(1, 61))


def test_losses_fall(trained: Any) -> None:
    curve = [loss for _, loss in losses(trained.out)]
    assert sum(curve[-5:]) / 5 < 0.7 * curve[0]
    first, *_, last = evaluations(trained.out)
    assert last["masked_lm_loss"] < 0.7 * first["masked_lm_loss"]
    assert last["masked_lm_accuracy"] > first["masked_lm_accuracy"] + 0.2


def test_every_held_out_example_counts_once(trained: Any) -> None:
    # 40 examples in batches of 16: the last batch is a part. 3 predictions each, so accuracies are 120ths and 40ths.
    for row in evaluations(trained.out):
        assert row["examples"] == 40
        for name, parts in (("masked_lm_accuracy", 120), ("sentence_order_accuracy", 40)):
            assert abs(row[name] * parts - round(row[name] * parts)) < 1e-4


def test_the_best_checkpoint_is_the_one_evaluated_best(trained: Any) -> None:
    rows = [row for row in evaluations(trained.out) if row["step"]]
    best = sorted(rows, key=lambda row: (-row["masked_lm_accuracy"], row["masked_lm_loss"]))[0]
    record = json.loads((trained.out / "model.ckpt-best.json").read_text())
    data = "data-00000-of-00001"
    assert record == {**best, "sha256": [sha256(trained.out / f"model.ckpt-best.{data}")]}
    for part in ("index", data):
        kept = trained.out / f"model.ckpt-best.{part}"
        assert kept.read_bytes() == (trained.out / f"model.ckpt-{best['step']}.{part}").read_bytes()
    assert f"step {best['step']}, masked LM accuracy {best['masked_lm_accuracy']:.4f}" in trained.done.stdout


def test_manifest_tells_what_was_made_from_what(trained: Any, tfrecords: Path) -> None:
    manifest = json.loads((trained.out / "manifest.json").read_text())
    assert manifest["stage"] == "tpu-train"
    assert manifest["options"]["steps"] == 60
    assert manifest["options"]["optimizer"] == "lamb"
    assert manifest["inputs"]["tfrecords"]["held_out"] == ["pretrain_00004.tfrecord.gz"]
    assert manifest["counts"] == {"train_files": 3, "held_out_examples": 40}
    for name, described in manifest["files"].items():
        assert described["sha256"] == sha256(trained.out / name)
    assert {"albert_config.json", "eval_results.txt", "train_loss.tsv", "model.ckpt-best.reference.npz"} <= set(
        manifest["files"]
    )


def test_event_files_and_published_results(trained: Any) -> None:
    assert list(trained.out.glob("events.out.tfevents.*"))
    assert list((trained.out / "eval").glob("events.out.tfevents.*"))
    lines = (trained.out / "eval_results.txt").read_text().splitlines()
    assert [line for line in lines if line.startswith("global_step")] == [f"global_step = {n}" for n in (0, 20, 40, 60)]


def test_stderr_is_for_people(trained: Any) -> None:
    lines = trained.done.stderr.splitlines()
    assert [line for line in lines if not line.startswith("tpu-train: ")] == []


def test_a_finished_run_is_left_alone(trained: Any, run_stage: Any) -> None:
    before = {path: path.stat().st_mtime_ns for path in trained.out.iterdir()}
    again = run_stage("tpu_train", *trained.arguments)
    assert again.stdout == trained.done.stdout
    assert {path: path.stat().st_mtime_ns for path in trained.out.iterdir()} == before


def test_reference_repeats(trained: Any, training_python: Any, tmp_path: Path) -> None:
    checkpoint = trained.out / "model.ckpt-best"
    arguments = ["--checkpoint", checkpoint, "--config", trained.out / "albert_config.json"]
    training_python("-m", "stages.tpu_train.reference", *arguments, "--out", tmp_path / "again.npz")
    with np.load(f"{checkpoint}.reference.npz") as left, np.load(tmp_path / "again.npz") as made:
        assert sorted(left) == sorted(made)
        for name in left:
            np.testing.assert_array_equal(left[name], made[name])
        shapes = {name: (made[name].shape, made[name].dtype.kind) for name in made}
        assert list(made["input_mask"].sum(axis=1)) == [32, 24, 16, 8]
        assert set(made["segment_ids"].flat) == {0, 1}
        assert list(made["checkpoint_sha256"]) == [sha256(Path(f"{checkpoint}.data-00000-of-00001"))]
        assert json.loads(str(made["config_json"])) == json.loads((trained.out / "albert_config.json").read_text())
        # What it learned: among the tokens, 5 and 6 are the likely ones.
        assert set(made["masked_lm_logits"].argmax(axis=2).flat) <= {5, 6}
    assert shapes == {
        "input_ids": ((4, 32), "i"),
        "input_mask": ((4, 32), "i"),
        "segment_ids": ((4, 32), "i"),
        "masked_lm_positions": ((4, 8), "i"),
        "masked_lm_logits": ((4, 8, 40), "f"),
        "sentence_order_logits": ((4, 2), "f"),
        "checkpoint_sha256": ((1,), "U"),
        "config_json": ((), "U"),
    }


def test_held_out_files_are_evaluated_and_not_trained_on(
    tfrecords: Path, config: Path, run_stage: Any, tmp_path: Path
) -> None:
    folder = tmp_path / "tfrecords"
    shutil.copytree(tfrecords, folder)
    damaged = folder / "pretrain_00004.tfrecord.gz"
    whole = damaged.read_bytes()
    # Behind gzip's header, which is looked at before training.
    damaged.write_bytes(whole[:10] + b"x" * (len(whole) - 10))
    # 20 steps of 16 go through the 120 training examples more than twice; only the evaluation meets the damage.
    larger = tmp_path / "larger.json"
    larger.write_text(config.read_text().replace('"vocab_size": 40', '"vocab_size": 50'))
    arguments = ["--tfrecords", folder, "--config", larger, "--out", tmp_path / "out", "--device", "cpu"]
    done = run_stage("tpu_train", *arguments, "--batch", "16", "--steps", "20", "--vocab-size-from-tfrecords", code=2)
    assert f"error: {damaged} is damaged" in done.stderr
    assert (tmp_path / "out" / "model.ckpt-20.index").exists()
    assert json.loads((tmp_path / "out" / "albert_config.json").read_text())["vocab_size"] == 40


def test_a_folder_without_manifest_and_a_first_checkpoint(
    trained: Any, tfrecords: Path, config: Path, run_stage: Any, tmp_path: Path
) -> None:
    folder, out = tmp_path / "others", tmp_path / "out"
    folder.mkdir()
    for name in ("pretrain_00000.tfrecord.gz", "pretrain_00004.tfrecord.gz"):
        shutil.copy(tfrecords / name, folder)
    arguments = ["--tfrecords", folder, "--config", config, "--out", out, "--device", "cpu"]
    arguments += ["--batch", "8", "--steps", "2", "--init-checkpoint", trained.out / "model.ckpt-best"]
    first = run_stage("tpu_train", *arguments)
    start, _ = evaluations(out)
    best = json.loads((trained.out / "model.ckpt-best.json").read_text())
    # The same held-out file, the same weights: the run starts where the first one was at its best.
    assert start["step"] == 0
    assert abs(start["masked_lm_loss"] - best["masked_lm_loss"]) < 1e-4
    names = {path.name for path in out.iterdir()}
    assert {"manifest.json", "model.ckpt-best.json", "model.ckpt-best.reference.npz"} <= names
    assert "run.json" not in names
    assert run_stage("tpu_train", *arguments).stdout == first.stdout
    refused = run_stage("tpu_train", *arguments, "--seed", "1", code=2)
    assert f"{out} was made with other options or inputs: options.seed was 12345 and is now 1" in refused.stderr
