"""The real `serve` command, on a port of its own, with the models of the tests."""

import json
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest

ROOT = Path(__file__).resolve().parents[2]


class Answer(NamedTuple):
    status: int
    headers: Any
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Service:
    """A service that runs: ask it, and read its log."""

    def __init__(self, process: "subprocess.Popen[bytes]", log: Path, address: str) -> None:
        self.process, self.log, self.address = process, log, address

    def get(self, path: str) -> Answer:
        return self.ask(urllib.request.Request(self.address + path))

    def post(self, path: str, body: Any, **headers: str) -> Answer:
        """Ask with a JSON value, or with bytes as they are."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        headers = {
            "Content-Type": "application/json",
            **{name.replace("_", "-"): value for name, value in headers.items()},
        }
        return self.ask(urllib.request.Request(self.address + path, data, headers))

    def ask(self, request: urllib.request.Request) -> Answer:
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return Answer(answer.status, answer.headers, answer.read())
        except urllib.error.HTTPError as error:
            with error:
                return Answer(error.code, error.headers, error.read())

    def lines(self) -> list[dict[str, Any]]:
        """What it logged, line by line."""
        return [json.loads(line) for line in self.log.read_text(encoding="utf-8").splitlines()]


@contextmanager
def serving(log: Path, *flags: object) -> Iterator[Service]:
    """Start `serve` and wait until it listens. Its standard error goes to `log`."""
    python = ROOT / ".venv/serve/bin/python"
    if not python.exists():
        pytest.skip(f"{python} is missing; run make venv")
    command = [str(python), "-m", "stages.serve", "--port", "0", *map(str, flags)]
    with log.open("wb") as stream:
        process = subprocess.Popen(command, cwd=ROOT, stderr=stream)
    try:
        while not log.read_bytes().count(b"\n"):
            assert process.poll() is None, log.read_text()
            try:
                process.wait(0.02)
            except subprocess.TimeoutExpired:
                continue
        [first, *_] = log.read_text(encoding="utf-8").splitlines()
        assert first.startswith("{"), first
        yield Service(process, log, json.loads(first)["address"])
    finally:
        process.kill()
        process.wait()


@pytest.fixture(scope="session")
def service(models_with_onnx: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """The service with the models `character/tiny` and `wordpiece_tinysegmenter/tiny`."""
    with serving(tmp_path_factory.mktemp("service") / "log", "--models", models_with_onnx) as started:
        yield started
