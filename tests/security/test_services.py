"""Every service of compose.yaml with few rights: as compose reads the file, and as its process sees itself inside."""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.containers import left_out

ROOT = Path(__file__).resolve().parents[2]
# The one that mounts a bucket: only root with SYS_ADMIN may, and only without AppArmor's profile.
MOUNT = "mount"
STAGES = ["corpus", "vocab", "tfrecords", "tpu-train", "train", "convert", "tokenizer"]
# What looks around in a container: its rights, what it may write to, its networks. Programs with setuid are those of
# the base image; NoNewPrivs makes the kernel ignore it.
LOOK = """
id -u
grep -E '^(CapInh|CapPrm|CapEff|CapBnd|CapAmb|NoNewPrivs|Seccomp):' /proc/self/status | tr '\\t' ' '
for place in / /app /venv /usr /etc /root /var /home /dev /proc/sys /sys /tmp; do
    if touch "$place/.probe" 2>/dev/null; then echo "writable $place"; fi
done
ls /sys/class/net | sed 's/^/network /'
if test -e /var/run/docker.sock; then echo "engine socket"; fi
"""


def compose(*words: str, environment: dict[str, str] | None = None) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        ["docker", "compose", "--profile", "*", *words],
        cwd=ROOT, capture_output=True, encoding="utf-8", env={**os.environ, **(environment or {})}, timeout=600,
    )  # fmt: skip


REASON = left_out()
pytestmark = pytest.mark.skipif(REASON is not None, reason=str(REASON))


def services(**variables: str) -> dict[str, Any]:
    """All services, those of profiles too, with what compose makes of anchors and variables."""
    done = compose("config", "--format", "json", environment=variables)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)["services"]
    return found


ALL = sorted(services()) if REASON is None else []


def test_all_services_are_looked_at() -> None:
    """So that the tests below are not empty, and none of the six stages is missing."""
    assert {*STAGES, MOUNT} <= set(ALL)


@pytest.mark.parametrize("name", ALL)
def test_a_service_asks_for_few_rights(name: str) -> None:
    service = services()[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["init"] is True
    for forbidden in ("privileged", "pid", "ipc", "userns_mode", "cgroup_parent", "device_cgroup_rules", "env_file"):
        assert not service.get(forbidden), forbidden
    for port in service.get("ports", []):
        assert port.get("host_ip") == "127.0.0.1", "only for this machine"
    for mount in service.get("volumes", []):
        assert mount["type"] in ("bind", "volume", "tmpfs")
        assert "docker.sock" not in str(mount.get("source"))
        assert mount.get("bind", {}).get("create_host_path") is not True
    if name == MOUNT:
        assert service["user"] == "0:0"
        assert service["cap_add"] == ["SYS_ADMIN", "DAC_OVERRIDE"]
        assert service["security_opt"] == ["no-new-privileges:true", "apparmor:unconfined"]
        assert [device["source"] for device in service["devices"]] == ["/dev/fuse"]
    else:
        assert service["user"] == "1000:1000"
        assert "cap_add" not in service
        assert "devices" not in service
        assert service["security_opt"] == ["no-new-privileges:true"]
    # No stage has a network by itself; services that talk to one another have one of their own.
    assert name not in STAGES or service["network_mode"] == "none"
    assert service.get("network_mode") != "host"


@pytest.mark.parametrize("name", ALL)
def test_credentials_come_as_a_file_that_is_read_only_and_not_in_the_environment(name: str, tmp_path: Path) -> None:
    (tmp_path / "key.json").write_text("{}")
    service = services(CREDENTIALS=str(tmp_path / "key.json"), A_TOKEN="not-for-containers")[name]
    variables = service.get("environment", {})
    assert "not-for-containers" not in json.dumps(service)
    assert not {"A_TOKEN", "AWS_SECRET_ACCESS_KEY", "HF_TOKEN"} & set(variables)
    assert variables.get("GOOGLE_APPLICATION_CREDENTIALS") in (None, "/run/secrets/credentials")
    assert all(mount.get("target") != "/run/secrets/credentials" for mount in service.get("volumes", []))


@pytest.fixture(scope="session")
def images() -> None:
    done = subprocess.run(["make", "images"], cwd=ROOT, capture_output=True, encoding="utf-8")
    assert done.returncode == 0, done.stderr[-3000:]


# train-cuda is train, as tests/shape sees to, with libraries of several GB for a GPU, which the engine wants to see.
@pytest.mark.parametrize("name", [name for name in ALL if name not in (MOUNT, "train-cuda")])
def test_inside_a_container_nothing_may_be_done_but_work(images: None, name: str, tmp_path: Path) -> None:
    """The stages' real images, looked at from inside. tests/mount looks at the mount."""
    data = ("corpus", "downloads", "vocab", "tfrecords", "checkpoints", "runs", "evaluations", "finetuned")
    for folder in (*data, "models"):
        (tmp_path / folder).mkdir()
    folders = {"DATA": str(tmp_path), "MODELS": str(tmp_path / "models")}
    # 1000:1000 owns none of these folders: what it could write to, it would write to by a right of the container.
    done = compose(
        "run", "--rm", "--no-deps", "-T", "--entrypoint", "sh", name, "-c", LOOK, environment=folders
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    user, *said = done.stdout.splitlines()
    assert user == "1000"
    for right in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
        assert f"{right}: 0000000000000000" in said
    assert "NoNewPrivs: 1" in said
    assert "Seccomp: 2" in said
    assert [line for line in said if line.startswith("writable")] == ["writable /tmp"]
    networks = [line for line in said if line.startswith("network")]
    assert networks == (["network lo"] if name in STAGES else ["network eth0", "network lo"])
    assert "engine socket" not in said
