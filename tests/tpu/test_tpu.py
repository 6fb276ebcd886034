"""make's variables → gcloud's command line, and its answers in one line.

A real gcloud needs an account that may create TPUs. Here an executable of that name records its arguments and answers
with what the real one is known to say.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
NAMED = {"TPU_NAME": "t-1", "TPU_ZONE": "us-central1-f"}
COST = "tpu-create: a TPU costs money from its creation on, used or not, until make tpu-delete ends it\n"
# As reported in https://github.com/skypilot-org/skypilot/pull/5593 and
# https://github.com/thevasudevgupta/gsoc-wav2vec2/issues/11.
DENIED = (
    "ERROR: (gcloud.compute.tpus.create) FAILED_PRECONDITION: Your request to provision TPU Node has been denied. "
    "Please migrate to TPU VM Architecture or contact Cloud TPU team to gain TPU Node access.\n"
)
FULL = (
    'ERROR: (gcloud.compute.tpus.create) There is no more capacity in the zone "europe-west4-a"; you can try another\n'
)
FAKE = """#!/bin/sh
printf '%s\\n' "$@" >"$RECORD"
printf '%s' "$ANSWER"
printf '%s' "$COMPLAINT" >&2
exit "$CODE"
"""


def make(target: str, path: str = "", **variables: str) -> "subprocess.CompletedProcess[str]":
    words = [f"{name}={value}" for name, value in variables.items()]
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS", "TPU"))}
    return subprocess.run(
        ["make", "--no-print-directory", target, *words],
        cwd=ROOT,
        env={**kept, "PATH": path or os.environ["PATH"]},
        capture_output=True,
        encoding="utf-8",
    )


def asked(action: str, path: str, variables: dict[str, str]) -> "subprocess.CompletedProcess[str]":
    """Without make, which ends with 2 whatever its command does."""
    return subprocess.run(
        [sys.executable, "scripts/tpu.py", action],
        cwd=ROOT,
        env={**os.environ, **variables, "PATH": path},
        capture_output=True,
        encoding="utf-8",
    )


@pytest.mark.parametrize(
    ("target", "variables", "command"),
    [
        (
            "tpu-create",
            {},
            "gcloud compute tpus create t-1 --zone=us-central1-f --accelerator-type=v2-8 --version=1.15.5",
        ),
        (
            "tpu-create",
            {"PROJECT": "p", "TPU_TYPE": "v3-8", "TPU_VERSION": "1.15.3", "PREEMPTIBLE": "1"},
            "gcloud compute tpus create t-1 --zone=us-central1-f --project=p --accelerator-type=v3-8 --version=1.15.3"
            " --preemptible",
        ),
        (
            "tpu-status",
            {"PROJECT": "p"},
            "gcloud compute tpus describe t-1 --zone=us-central1-f --project=p --format=json",
        ),
        ("tpu-delete", {}, "gcloud compute tpus delete t-1 --zone=us-central1-f --quiet"),
    ],
)
def test_a_dry_run_prints_the_command_line_and_asks_nobody(
    target: str, variables: dict[str, str], command: str, gcloud: Any
) -> None:
    done = make(target, gcloud.path, DRY_RUN="1", **NAMED, **variables)
    assert (done.returncode, done.stdout) == (0, command + "\n"), done.stderr
    assert done.stderr == (COST if target == "tpu-create" else "")
    assert not gcloud.record.exists()
    # Without it, gcloud gets these very words.
    gcloud.answers("{}")
    assert make(target, gcloud.path, **NAMED, **variables).returncode == 0
    assert ["gcloud", *gcloud.record.read_text().splitlines()] == command.split()


@pytest.fixture
def gcloud(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A PATH with an executable gcloud in front: what it was asked is in `record`, `answers` says what it says."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "gcloud").write_text(FAKE)
    (tmp_path / "bin" / "gcloud").chmod(0o755)

    class Gcloud:
        path = f"{tmp_path / 'bin'}:{os.environ['PATH']}"
        record = tmp_path / "asked"

        def answers(self, answer: str, complaint: str = "", code: int = 0) -> None:
            for name, value in (("ANSWER", answer), ("COMPLAINT", complaint), ("CODE", str(code))):
                monkeypatch.setenv(name, value)
            monkeypatch.setenv("RECORD", str(self.record))

    return Gcloud()


def test_what_there_is_in_one_line(gcloud: Any) -> None:
    node = {
        "name": "projects/p/locations/us-central1-f/nodes/t-1",
        "state": "READY",
        "health": "HEALTHY",
        "acceleratorType": "v2-8",
        "tensorflowVersion": "1.15.5",
        "schedulingConfig": {"preemptible": True},
        "networkEndpoints": [{"ipAddress": "10.240.1.2", "port": 8470}],
    }
    gcloud.answers(json.dumps(node))
    told = make("tpu-status", gcloud.path, **NAMED).stdout
    assert told == "t-1: READY, HEALTHY, v2-8, TensorFlow 1.15.5, preemptible, at 10.240.1.2:8470\n"
    gcloud.answers("")
    assert make("tpu-delete", gcloud.path, **NAMED).stdout == "t-1 is gone\n"
    assert "make tpu-train TPU_NAME=t-1 TPU_ZONE=us-central1-f" in make("tpu-create", gcloud.path, **NAMED).stdout


@pytest.mark.parametrize(
    ("target", "complaint", "code", "told"),
    [
        ("tpu-create", DENIED, 2, "Google has withdrawn the TPU Node, which TensorFlow 1.15 needs; a project without"),
        ("tpu-create", "ERROR: (gcloud.compute.tpus) Invalid choice: 'create'.\n", 2, "this gcloud has no command for"),
        ("tpu-create", FULL, 75, "not now: (gcloud.compute.tpus.create) There is no more capacity in the zone"),
        (
            "tpu-delete",
            "ERROR: (x) PERMISSION_DENIED: Permission 'tpu.nodes.delete' denied\n",
            2,
            "is not allowed to: ",
        ),
        (
            "tpu-status",
            "WARNING: old\nERROR: (x) NOT_FOUND: Resource t-1 was not found\n",
            2,
            "refuses: (x) NOT_FOUND: ",
        ),
        ("tpu-status", "", 2, "gcloud refuses: it says nothing"),
    ],
)
def test_a_refusal_of_the_service_is_one_line(gcloud: Any, target: str, complaint: str, code: int, told: str) -> None:
    gcloud.answers("", complaint, 1)
    done = asked(target.removeprefix("tpu-"), gcloud.path, NAMED)
    assert done.returncode == code
    assert done.stdout == ""
    last = done.stderr.splitlines()[-1]
    assert last.startswith(f"{target}: error: ")
    assert told in last


@pytest.mark.parametrize(
    ("variables", "told"),
    [
        ({}, "TPU_NAME is not set; say which one, such as TPU_NAME=my-tpu"),
        ({"TPU_NAME": "t"}, "TPU_ZONE is not set; say which one, such as TPU_ZONE=us-central1-f"),
        ({**NAMED, "TPU_VERSION": "2.12.0"}, "TPU_VERSION=2.12.0 is not 1.15…, the only one that tpu-train can use"),
        (NAMED, "there is no gcloud on the PATH; install it from https://cloud.google.com/sdk/docs/install"),
    ],
)
def test_what_is_missing_is_said(variables: dict[str, str], told: str, tmp_path: Path) -> None:
    done = asked("create", str(tmp_path), variables)
    assert done.returncode == 2
    assert done.stderr.endswith(f"tpu-create: error: {told}\n")
