"""gs:// for containers: the stages' images work in a bucket, and get a network and credentials for that alone."""

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.mount.conftest import BUCKET, ROOT, SAMPLE, SMALL, Machine, Storage, docker, files

# A command in the container of `vocab`, with the variables that scripts/run.py gives to compose.
TOLD = """
import json, os, subprocess
from scripts import containers
from stages.pipeline import STAGES
containers.make_folders()
told = containers.compose_variables(STAGES["vocab"], [], os.environ)
script = "ls /app/data/*; touch /app/data/vocab/x; ls /sys/class/net; cat $GOOGLE_APPLICATION_CREDENTIALS; id -u"
run = ["docker", "compose", "run", "--rm", "--no-deps", "-T", "--entrypoint", "sh", "vocab", "-c", script]
done = subprocess.run(run, env=told, stdin=subprocess.DEVNULL, capture_output=True, text=True)
print(json.dumps([done.stdout.split(), done.stderr.splitlines()]))
"""
MARKER = "a-secret-that-must-not-be-seen"


def test_the_images_work_in_a_bucket_and_leave_the_bytes_of_a_local_run(
    machine: Machine, storage: Storage, local_run: Path
) -> None:
    variables = {**SMALL, "DATA": f"gs://{BUCKET}/direct", "DUMP": SAMPLE}
    machine.make("corpus", "vocab", "tfrecords", **variables)
    assert {name: storage.read(f"direct/{name}") for name in storage.names("direct/")} == files(local_run)
    assert "finished already" in machine.make("tfrecords", **variables).stderr
    refused = machine.make("vocab", **{**variables, "SEED": 5}, code=2).stderr
    assert f"gs://{BUCKET}/direct/vocab was made with other options or inputs: options.seed" in refused
    refused = machine.make("vocab", **{**variables, "DATA": "gs://another-bucket/x"}, code=2).stderr
    assert "another-bucket" in refused


@pytest.mark.parametrize("in_bucket", [True, False])
def test_a_container_sees_its_credentials_where_it_needs_them(machine: Machine, in_bucket: bool) -> None:
    kept = machine.folder / ".config/gcloud/application_default_credentials.json"
    kept.parent.mkdir(parents=True, exist_ok=True)
    kept.write_text(MARKER)
    kept.chmod(0o600)
    for path in (kept, kept.parent, kept.parent.parent):
        os.chown(path, machine.who.get("user", os.getuid()), machine.who.get("group", os.getgid()))
    data = f"gs://{BUCKET}/run" if in_bucket else str(machine.folder / "local")
    environment = {**machine.environment, "STORAGE_EMULATOR_HOST": "", "DATA": data}
    done = subprocess.run(
        ["python3", "-c", TOLD],
        cwd=ROOT, env=environment, capture_output=True, encoding="utf-8", **machine.who,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    seen, said = json.loads(done.stdout)
    user = str(machine.who.get("user", os.getuid()))
    if in_bucket:
        # Two empty folders that take nothing, a network, the file.
        assert seen == ["/app/data/corpus:", "/app/data/vocab:", "eth0", "lo", MARKER + user]
        assert [line for line in said if "Permission denied" in line]
    else:
        assert seen == ["/app/data/corpus:", "/app/data/vocab:", "lo", user]
        assert (machine.folder / "local/vocab/x").exists()
    for image in ("vocab", "tfrecords"):
        assert MARKER not in docker("history", "--no-trunc", f"albert-ja/{image}").stdout


def test_a_run_is_uploaded_and_downloaded(machine: Machine, storage: Storage, local_run: Path) -> None:
    here, there = machine.folder / "here", machine.folder / "there"
    shutil.copytree(local_run, here, dirs_exist_ok=True)
    for path in (here, *here.rglob("*")):
        os.chown(path, machine.who.get("user", os.getuid()), machine.who.get("group", os.getgid()))
    variables: dict[str, Any] = {"WORK_DIR": f"gs://{BUCKET}/carried", "MODELS": machine.folder / "models"}
    machine.make("upload", DATA=here, **variables)
    assert {name: storage.read(f"carried/{name}") for name in storage.names("carried/")} == files(local_run)
    assert "copied 0 files" in machine.make("upload", DATA=here, **variables).stderr
    machine.make("download", DATA=there, **variables)
    assert files(there) == files(local_run)
