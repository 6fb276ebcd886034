"""Reading TensorFlow's checkpoints without TensorFlow, against TensorFlow's own reader."""

import random
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stages.command.refusal import Refusal
from stages.convert.checkpoint import Checkpoint
from stages.handover import cloud_storage, storage
from tests.emulator import BUCKET, Proxy

ROOT = Path(__file__).resolve().parents[2]


def test_every_variable_is_what_tensorflow_reads(checkpoints: Path, tmp_path: Path) -> None:
    program = """
import sys, numpy, tensorflow as tf
reader = tf.train.load_checkpoint(sys.argv[1])
names = reader.get_variable_to_shape_map()
numpy.savez(sys.argv[2], **{name.replace("/", "|"): reader.get_tensor(name) for name in names})
"""
    python = ROOT / ".venv/tpu-train/bin/python"
    subprocess.run(
        [python, "-W", "ignore", "-c", program, checkpoints / "groups", tmp_path / "all.npz"],
        check=True,
        capture_output=True,
    )
    checkpoint = Checkpoint(str(checkpoints / "groups"))
    with np.load(tmp_path / "all.npz", allow_pickle=False) as arrays:
        assert {name.replace("|", "/") for name in arrays} == set(checkpoint.variables)
        for name, expected in arrays.items():
            found = checkpoint.read(name.replace("|", "/"))
            assert found.dtype == expected.dtype
            assert found.shape == expected.shape
            assert (found == expected).all()
    assert int(checkpoint.read("global_step")) == 1234


def read_all(prefix: Path) -> None:
    checkpoint = Checkpoint(str(prefix))
    for name in checkpoint.variables:
        checkpoint.read(name)


def copy(checkpoints: Path, to: Path) -> Path:
    for path in checkpoints.glob("plain.*"):
        (to / path.name).write_bytes(path.read_bytes())
    return to / "plain"


def test_a_flipped_bit_anywhere_is_seen(checkpoints: Path, tmp_path: Path) -> None:
    prefix = copy(checkpoints, tmp_path)
    for suffix, step in ((".index", 97), (".data-00000-of-00001", 997)):
        path = prefix.with_name(prefix.name + suffix)
        whole = path.read_bytes()
        # All but the handle of the (empty) meta index block and its checksum, which nothing depends on.
        end = len(whole) - 48 - 13 if suffix == ".index" else len(whole)
        for at in range(0, end, step):
            damaged = bytearray(whole)
            damaged[at] ^= 4
            path.write_bytes(damaged)
            with pytest.raises(Refusal):
                read_all(prefix)
        path.write_bytes(whole)


def test_flipped_bits_at_random_are_seen_or_change_nothing(checkpoints: Path, tmp_path: Path) -> None:
    prefix, draw = copy(checkpoints, tmp_path), random.Random()
    expected = everything(prefix)
    refused = 0
    for suffix in (".index", ".data-00000-of-00001") * 60:
        path = prefix.with_name(prefix.name + suffix)
        whole = path.read_bytes()
        at, bit = draw.randrange(len(whole)), draw.randrange(8)
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 1 << bit]) + whole[at + 1 :])
        try:
            assert everything(prefix) == expected, (suffix, at, bit)
        except Refusal:
            refused += 1
        path.write_bytes(whole)
    # Only the footer's padding and the handle of the empty meta index are of no consequence.
    assert refused > 95


def everything(prefix: Path) -> dict[str, bytes]:
    checkpoint = Checkpoint(str(prefix))
    return {name: checkpoint.read(name).tobytes() for name in checkpoint.variables}


def test_a_file_cut_short_is_seen(checkpoints: Path, tmp_path: Path) -> None:
    prefix = copy(checkpoints, tmp_path)
    for suffix in (".index", ".data-00000-of-00001"):
        path = prefix.with_name(prefix.name + suffix)
        whole = path.read_bytes()
        for size in (0, 30, len(whole) // 2, len(whole) - 1):
            path.write_bytes(whole[:size])
            with pytest.raises(Refusal):
                read_all(prefix)
        path.write_bytes(whole)


def test_a_damaged_file_in_a_bucket_is_named_as_it_is_there(
    checkpoints: Path, bucket: Proxy, run_stage: Any, tmp_path: Path
) -> None:
    cloud_storage._client_of.cache_clear()
    folder = f"gs://{BUCKET}/damaged"
    for path in (*checkpoints.glob("plain.*"), checkpoints / "vocab.txt"):
        data = path.read_bytes()
        (tmp_path / path.name).write_bytes(data[:-1] if ".data" in path.name else data)
        cloud_storage.upload(str(tmp_path / path.name), f"{folder}/{path.name}")
    command = [
        "convert",
        "--checkpoint",
        f"{folder}/plain",
        "--config",
        f"{folder}/plain.json",
        "--out",
        tmp_path / "m",
    ]
    command += ["--vocab", f"{folder}/vocab.txt"]
    assert f"error: {folder}/plain.data-00000-of-00001: the bytes of" in run_stage(*command, code=2).stderr
    storage.remove(f"{folder}/plain.data-00000-of-00001")
    assert f"error: {folder}/plain.data-00000-of-00001 is missing" in run_stage(*command, code=2).stderr
    storage.remove(f"{folder}/plain.index")
    assert f"error: cannot read {folder}/plain.index: " in run_stage(*command, code=2).stderr
