"""Damaged TFRecords and checkpoints: refused by TensorFlow and by the stage, and never a beginning from step 0."""

import json
import random
import shutil
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture(scope="module")
def found(trained: Any, tfrecords: Path, training_python: Any) -> Any:
    """What TensorFlow and the stage say of many damaged files, with a seed of the day."""
    seed = random.randrange(1 << 30)
    script = Path(__file__).parent / "damage.py"
    done = training_python(script, tfrecords, trained.out, seed, env={"PYTHONPATH": "."})
    return {"seed": seed, **json.loads(done.stdout)}


def test_a_flipped_bit_of_a_tfrecord_is_an_error_or_changes_nothing(found: Any) -> None:
    """Every bit of a file. To TensorFlow's reader, a flipped flag of gzip's (byte 3) can make it an empty one."""
    flipped = found["flipped"]
    assert all(byte == 3 and records == 0 for byte, _, records in flipped["others"]), found
    assert flipped["DataLossError"] > 0.9 * flipped["bits"], found
    assert flipped["DataLossError"] + flipped["the same"] + len(flipped["others"]) == flipped["bits"], found


def test_a_flipped_flag_of_gzip_is_refused_by_the_stage(found: Any) -> None:
    assert set(found["headers"]) == {"FILE is damaged in its first bytes; make the TFRecords again"}, found


def test_a_tfrecord_that_is_cut_short_has_not_fewer_examples(found: Any) -> None:
    """TensorFlow's reader alone takes a file that ends between two of its reads for a whole one; the manifest knows."""
    assert set(found["cut"]["stage"]) == {"refused"}, found
    assert found["cut"]["TensorFlow"]["40 records or fewer"] > 0, found


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        ("whole", ["step 60", "model.ckpt-60", "tpu-train: resuming from step 60\n"]),
        ("data flipped", "the checkpoint OUT/model.ckpt-60 is damaged ("),
        ("data flipped", "); remove OUT/model.ckpt-60.*, and the same command resumes from model.ckpt-40"),
        ("index flipped", "the checkpoint OUT/model.ckpt-60 is damaged ("),
        ("data cut", "the checkpoint OUT/model.ckpt-60 is damaged ("),
        ("index cut", "the checkpoint OUT/model.ckpt-60 is damaged ("),
        ("data gone", "there is no readable TensorFlow checkpoint OUT/model.ckpt-60 "),
        ("newest removed", ["step 40", "model.ckpt-40", "tpu-train: resuming from step 40\n"]),
        ("list cut", ["step 60", "model.ckpt-60", "tpu-train: resuming from step 60\n"]),
        ("list gone", ["step 60", "model.ckpt-60", "tpu-train: resuming from step 60\n"]),
        ("list gone, data flipped", ["step 40", "model.ckpt-40"]),
        (
            "killed while saving",
            ["step 40", "model.ckpt-40", "tpu-train: model.ckpt-60 is incomplete and not used\n"],
        ),
        ("all gone", "OUT has lost all checkpoints of its run (checkpoint is left); restore them or remove"),
        ("new", ["step 0", "None", ""]),
    ],
)
def test_where_a_run_goes_on(found: Any, damage: str, told: Any) -> None:
    said = found["runs"][damage]
    if isinstance(told, str):
        assert said[0] == "refused", (found["seed"], said)
        assert told in said[1]
    else:
        assert said[:2] == told[:2], (found["seed"], said)
        assert "".join(told[2:]) in said[2]


def test_a_flipped_byte_of_a_tfrecord_stops_training_and_names_the_file(
    tfrecords: Path, config: Path, run_stage: Any, tmp_path: Path
) -> None:
    folder = tmp_path / "tfrecords"
    shutil.copytree(tfrecords, folder)
    damaged = folder / "pretrain_00001.tfrecord.gz"
    data = bytearray(damaged.read_bytes())
    data[len(data) // 2] ^= 1
    damaged.write_bytes(data)
    arguments = ["--tfrecords", folder, "--config", config, "--out", tmp_path / "out", "--device", "cpu"]
    refused = run_stage("tpu_train", *arguments, "--batch", "16", "--steps", "20", code=2).stderr.splitlines()
    assert refused[-1].startswith(f"tpu-train: error: {damaged} is damaged; make the TFRecords again")
