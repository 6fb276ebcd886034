"""A Ray cluster of this machine's processes, and one of containers."""

import contextlib
import functools
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.containers import left_out

ROOT = Path(__file__).resolve().parents[2]
PYTHON = ROOT / ".venv/cluster/bin/python"
# What no test's cluster, and no command that uses one, takes from the person who runs the tests.
QUIET = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_AUTH_MODE": "disabled"}
# Shorter than Ray's defaults, for what is lost in tests.
SOON = {"RAY_health_check_period_ms": "2000", "RAY_CLIENT_RECONNECT_GRACE_PERIOD": "10"}
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT), **QUIET, **SOON}
Completed = subprocess.CompletedProcess[str]


class Nodes(NamedTuple):
    """A head without processors and two workers of one processor each, as processes of this machine."""

    address: str
    head: "subprocess.Popen[bytes]"
    workers: list["subprocess.Popen[bytes]"]


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


def node(log: Path, *words: object) -> "subprocess.Popen[bytes]":
    """`ray start`, which stays and takes its processes with it."""
    start = [PYTHON.with_name("ray"), "start", "--block", "--object-store-memory=100000000"]
    with open(log, "wb") as stream:
        return subprocess.Popen(
            [*map(str, start), *map(str, words)], env=ENVIRONMENT, stdout=stream, stderr=stream, cwd=ROOT
        )


def processes_of(top: int) -> list[int]:
    """A process and all below it."""
    try:
        tasks = Path(f"/proc/{top}/task").iterdir()
        children = [int(child) for task in tasks for child in (task / "children").read_text().split()]
    except FileNotFoundError:
        return []
    return [top, *(process for child in children for process in processes_of(child))]


def kill(node: "subprocess.Popen[bytes]") -> None:
    """kill -9 of a node with all its processes, as when its machine is switched off."""
    for process in processes_of(node.pid):
        with contextlib.suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)
    node.wait()


def until(what: Callable[[], object], seconds: float, why: Callable[[], object] = lambda: "") -> None:
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end, why()
        time.sleep(0.1)


def _started(log: Callable[[], str]) -> bool:
    return "Ray runtime started" in log()


@pytest.fixture(scope="session")
def nodes() -> Iterator[Nodes]:
    if not PYTHON.exists():
        pytest.skip(f"{PYTHON} is missing; run scripts/venv cluster")
    # Ray's sockets have no room for the long path of pytest's own folder.
    folder = Path(tempfile.mkdtemp(prefix="ray-"))
    port, client = free_port(), free_port()
    head = node(
        folder / "head.log", "--head", "--num-cpus=0", f"--port={port}", f"--ray-client-server-port={client}",
        "--include-dashboard=false", f"--temp-dir={folder}",
    )  # fmt: skip
    workers: list[subprocess.Popen[bytes]] = []
    try:
        log = (folder / "head.log").read_text
        until(lambda: "Ray runtime started" in log(), 90, log)
        address = next(line.split("'")[1] for line in log().splitlines() if "--address='" in line)
        for number in range(2):
            # One after the other: two that look for free ports at once may take the same, and then wait for each other.
            workers.append(node(folder / f"worker{number}.log", f"--address={address}", "--num-cpus=1"))
            log = (folder / f"worker{number}.log").read_text
            until(functools.partial(_started, log), 90, log)
        yield Nodes(f"ray://{address.split(':')[0]}:{client}", head, workers)
    finally:
        for process in (*workers, head):
            kill(process)
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def on_cluster(nodes: Nodes) -> Callable[..., Completed]:
    """Run a stage's command in the cluster's environment, by the cluster; asserts its exit code."""

    def run(stage: str, *arguments: object, code: int = 0, **environment: str) -> Completed:
        command = [PYTHON, "-m", f"stages.{stage}", *arguments, "--engine", "ray"]
        done = subprocess.run(
            list(map(str, command)),
            env={**ENVIRONMENT, "RAY_ADDRESS": nodes.address, **environment},
            capture_output=True,
            encoding="utf-8",
            cwd=ROOT,
            timeout=300,
        )
        assert done.returncode == code, f"exit code {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done

    return run


def mapped(address: str, function: str, items: str, before: str = "") -> "subprocess.Popen[str]":
    """Start a process that prints the results of a function of `tests.cluster.trial` for some items."""
    program = (
        f"{before}\n"
        "import functools, sys; from stages.command.running import run\n"
        "from stages.engine.ordered import in_order; from tests.cluster import trial\n"
        "def main(words):\n"
        f"    for result in in_order({function}, {items}, 1, 'ray', 'shard {{}}'.format):\n"
        "        print(result, flush=True)\n"
        "sys.exit(run('corpus', main))"
    )
    return subprocess.Popen(
        [str(PYTHON), "-c", program], env={**ENVIRONMENT, "RAY_ADDRESS": address}, cwd=ROOT, encoding="utf-8",
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


class Containers:
    """make's cluster of containers, with a folder and a project of its own."""

    def __init__(self, folder: Path, name: str, **variables: str) -> None:
        self.folder, self.data = folder, folder / "data"
        self.project = f"albert-ja-test-{name}-{os.getpid()}"
        self.environment = {
            "PATH": os.environ["PATH"], "HOME": str(folder), "COMPOSE_PROJECT_NAME": self.project,
            "RUNNER": "docker", "DATA": str(self.data), "MODELS": str(folder / "models"),
            "WORKERS": "2", "JOBS": "1", "ENGINE": "ray", **variables,
        }  # fmt: skip

    def started(self, *words: str) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            ["make", "--no-print-directory", *words], cwd=ROOT, env=self.environment, encoding="utf-8",
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip

    def make(self, *words: str) -> str:
        process = self.started(*words)
        told, _ = process.communicate(timeout=400)
        assert process.returncode == 0, told
        return told

    def docker(self, *words: str) -> str:
        done = subprocess.run(["docker", *words], cwd=ROOT, env=self.environment, capture_output=True, encoding="utf-8")
        assert done.returncode == 0, done.stderr
        return done.stdout

    def named(self, service: str) -> list[str]:
        """The containers of a service that run."""
        return self.docker("compose", "--profile", "cluster", "ps", "--quiet", service).split()


@contextlib.contextmanager
def containers_of(name: str, **variables: str) -> Iterator[Containers]:
    """A cluster of containers that is gone behind `with`; its last words are in the log of the tests."""
    reason = left_out()
    if reason:
        pytest.skip(reason)
    with tempfile.TemporaryDirectory(prefix=f"albert-ja-{name}-") as folder:
        made = Containers(Path(folder), name, **variables)
        try:
            yield made
        finally:
            sys.stdout.write(made.docker("compose", "--profile", "cluster", "logs", "--tail=20"))
            made.docker("compose", "--profile", "cluster", "down", "--volumes")


@pytest.fixture(scope="session")
def containers() -> Iterator[Containers]:
    with containers_of("cluster") as made:
        yield made


def bytes_of(folder: Path) -> dict[str, bytes]:
    """The files in a folder and below it, with what is in them."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def told_of(process: "subprocess.Popen[str]", seconds: float = 120) -> tuple[int, str, Any]:
    """Exit code, standard output and standard error of a process, at its end."""
    output, error = process.communicate(timeout=seconds)
    return process.returncode, output, error
