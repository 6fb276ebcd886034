"""A bucket as a folder: what a stage has written is in the bucket when it ends, whoever dies in between."""

import fcntl
import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from stages.command.refusal import Retryable
from stages.handover.storage import whole_file
from tests.mount.conftest import BUCKET, SAMPLE, SMALL, Machine, Storage, docker, files

TINY: dict[str, Any] = {"SIZE": "tiny", "BATCH": 2, "STEPS": 2, "WARMUP": 1, "DEVICE": "cpu", "FLAGS": "--eval-steps=1"}


def test_the_stages_leave_the_bytes_of_a_local_run_in_the_bucket_and_a_model_is_made_there(
    machine: Machine, storage: Storage, local_run: Path
) -> None:
    assert f"gs://{BUCKET}/run is {machine.data}" in machine.make("mount", BUCKET=f"{BUCKET}/run").stdout
    variables = {**SMALL, "DATA": machine.data, "DUMP": SAMPLE}
    machine.make("corpus", "vocab", "tfrecords", **variables)
    # At once: the exit code says that it is there.
    expected = files(local_run)
    assert {name: storage.read(f"run/{name}") for name in storage.names("run/")} == expected
    assert len(expected) == 11
    # A machine that dies in between leaves no manifest of files that are not there.
    for folder in ("corpus", "vocab", "tfrecords/character"):
        assert storage.names(f"run/{folder}/")[-1] == "manifest.json"

    assert "finished already" in machine.make("tfrecords", **variables).stderr
    machine.make("tpu-train", **{**variables, **TINY})
    trained = storage.names("run/checkpoints/character/tiny/")
    best = {f"model.ckpt-best.{part}" for part in ("index", "data-00000-of-00001", "meta", "reference.npz")}
    assert set(trained) >= {"manifest.json", "checkpoint", "eval_results.jsonl", *best}
    assert not [name for name in trained if name.endswith((".partial", ".lock")) or "temp" in name]
    manifest = json.loads(storage.read("run/checkpoints/character/tiny/manifest.json"))
    assert manifest["stage"] == "tpu-train"
    for name in sorted(trained):
        mounted = (machine.data / "checkpoints/character/tiny" / name).read_bytes()
        assert mounted == storage.read(f"run/checkpoints/character/tiny/{name}"), name

    # The same checkpoint and vocabulary as files and as gs://, which the images reach themselves.
    here = machine.folder / "models"
    in_bucket: dict[str, Any] = {"DATA": f"gs://{BUCKET}/run", "MODELS": f"gs://{BUCKET}/models"}
    in_bucket |= {"MODEL": "character", "SIZE": "tiny"}
    from_files = machine.make("convert", **{**in_bucket, "DATA": machine.data, "MODELS": here})
    machine.make("unmount")
    from_bucket = machine.make("convert", **in_bucket)
    assert f"--env DATA=gs://{BUCKET}/run " in from_bucket.stderr
    assert from_bucket.stdout == from_files.stdout
    made = {name: storage.read(f"models/{name}") for name in storage.names("models/")}
    assert made == files(here)
    assert storage.names("models/")[-1] == "character/tiny/manifest.json"
    assert machine.make("tokenize", TEXT="春の山を見る。", **in_bucket).stdout == "春 の 山 を 見 る 。\n"

    assert list(machine.data.iterdir()) == []
    assert machine.container() == ""


def test_what_was_not_uploaded_when_the_mount_was_killed_is_uploaded_by_the_next(
    machine: Machine, storage: Storage
) -> None:
    machine.make("mount", BUCKET=f"gs://{BUCKET}/killed/")
    with open(machine.data / "events", "ab") as stream:
        stream.write(b"a step")
    docker("kill", machine.container())
    with pytest.raises(OSError, match="not connected"):
        os.listdir(machine.data)
    assert storage.names("killed/") == []

    assert "not everything is uploaded" in machine.make("unmount", code=2).stderr
    assert list(machine.data.iterdir()) == []
    machine.make("mount", BUCKET=f"{BUCKET}/killed")
    machine.make("unmount")
    assert storage.read("killed/events") == b"a step"


def test_unmounting_waits_for_the_bucket(machine: Machine, storage: Storage) -> None:
    machine.make("mount", BUCKET=f"{BUCKET}/late")
    with open(machine.data / "appended", "ab") as stream:
        stream.write(b"late")
    with open(machine.data / "written", "wb") as stream:
        stream.write(b"at once")
    assert storage.names("late/") == ["written"], "close() waits for what was written from its beginning"
    said = machine.make("unmount")
    assert f"still to be uploaded below gs://{BUCKET}/late: 1 file(s)" in said.stderr
    assert storage.read("late/appended") == b"late"


def test_a_write_that_does_not_reach_the_bucket_is_an_error_of_the_stage(machine: Machine, storage: Storage) -> None:
    """Not one that comes after it has said that all is done."""
    storage.ask("/storage/v1/b?project=p", "POST", {"name": "removed-bucket"})
    machine.make("mount", BUCKET="removed-bucket")
    said = "Input/output error; once the disk or the mount answers, the same command resumes"
    writing = whole_file(str(machine.data / "file"))
    writing.__enter__().write(b"x" * 1000)
    storage.ask("/storage/v1/b/removed-bucket", "DELETE")
    with pytest.raises(Retryable, match=said):
        writing.__exit__(None, None, None)


def test_one_owner_of_a_folder_in_the_mount(machine: Machine) -> None:
    machine.make("mount", BUCKET=f"{BUCKET}/owned")
    (machine.data / "corpus").mkdir()
    with open(machine.data / "corpus/.lock", "a+") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        refused = machine.make("corpus", DUMP=SAMPLE, DATA=machine.data, code=2)
    assert "corpus is being written by" in refused.stderr


def test_only_the_mount_has_rights(machine: Machine) -> None:
    machine.make("mount", BUCKET=BUCKET)
    (inside,) = json.loads(docker("inspect", machine.container()).stdout)
    assert inside["HostConfig"]["CapDrop"] == ["ALL"]
    assert sorted(inside["HostConfig"]["CapAdd"]) == ["DAC_OVERRIDE", "SYS_ADMIN"]
    assert inside["HostConfig"]["ReadonlyRootfs"] is True
    assert inside["HostConfig"]["Privileged"] is False
    assert [device["PathOnHost"] for device in inside["HostConfig"]["Devices"]] == ["/dev/fuse"]
    state = machine.compose("exec", "-T", "mount", "grep", "-E", "^(CapEff|NoNewPrivs)", "/proc/self/status").stdout
    dac_override, sys_admin = 1 << 1, 1 << 21
    assert state.split() == ["CapEff:", f"{dac_override | sys_admin:016x}", "NoNewPrivs:", "1"]
    # Files belong to who ran make; others read.
    (machine.data / "file").write_bytes(b"")
    assert machine.data.stat().st_uid == machine.who.get("user", os.getuid())
    assert machine.data.stat().st_mode & 0o777 == 0o755


MARKER = "a-secret-that-must-not-be-seen"


def test_credentials_are_read_by_the_mount_alone_and_told_to_nobody(machine: Machine) -> None:
    key = machine.folder / "key.json"
    key.write_text(json.dumps({
        "type": "service_account", "client_email": "a@b", "private_key_id":"1", "private_key": MARKER,
        "token_uri": "http://127.0.0.1:9/token",
    }))  # fmt: skip
    key.chmod(0o600)
    if machine.who:
        os.chown(key, machine.who["user"], machine.who["group"])
    variables: dict[str, Any] = {"BUCKET": BUCKET, "STORAGE_EMULATOR_HOST": "", "GOOGLE_APPLICATION_CREDENTIALS": key}
    # It was read, and found to be no key.
    refused = machine.make("mount", code=2, **variables).stderr
    assert refused.startswith(f"mount: error: cannot list gs://{BUCKET}: ")
    assert "private key should be a PEM" in refused
    assert MARKER not in refused
    assert MARKER not in docker("history", "--no-trunc", "albert-ja/mount").stdout
    key.unlink()
    assert f"names {key}, which is no file" in machine.make("mount", code=2, **variables).stderr


@pytest.mark.parametrize(
    ("variables", "words"),
    [
        ({}, "say which bucket: BUCKET=bucket"),
        ({"BUCKET": "No_Bucket!"}, "BUCKET=No_Bucket! is no bucket[/prefix]"),
        ({"BUCKET": "another-bucket"}, "there is no bucket another-bucket"),
        ({"BUCKET": BUCKET, "STORAGE_EMULATOR_HOST": "127.0.0.1:9"}, f"cannot list gs://{BUCKET}: "),
        ({"BUCKET": BUCKET, "MOUNT": "/proc"}, "cannot make /proc/data"),
    ],
)
def test_what_cannot_be_mounted_is_one_line(machine: Machine, variables: dict[str, str], words: str) -> None:
    refused = machine.make("mount", code=2, **variables).stderr.splitlines()
    assert refused[0].startswith("mount: error: ")
    assert words in refused[0]
    assert refused[1:] == [line for line in refused[1:] if line.startswith("make: ***")]
    assert machine.container() == ""


def test_a_folder_with_files_is_not_hidden(machine: Machine) -> None:
    machine.data.mkdir()
    (machine.data / "file").touch()
    assert "holds files, which the mount would hide" in machine.make("mount", code=2, BUCKET=BUCKET).stderr


def test_a_private_mount_is_told_with_its_remedy(machine: Machine, tmp_path: Path) -> None:
    if "shared" in Path("/proc/self/mountinfo").read_text().split(" / ", 1)[1].split(" - ")[0]:
        pytest.skip("the root of this machine is a shared mount")
    try:
        refused = machine.make("mount", code=2, BUCKET=BUCKET, MOUNT="/tmp/albert-ja-private").stderr
    finally:
        shutil.rmtree("/tmp/albert-ja-private", ignore_errors=True)
    assert "sudo mount --bind /tmp/albert-ja-private /tmp/albert-ja-private && sudo mount --make-rshared" in refused
