"""A model folder as convert writes it, and a server that speaks the Hub's API and keeps all that it is sent."""

import base64
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from tests.convert.conftest import checkpoints, model  # noqa: F401 - the same folders as there


class Hub:
    """What arrived: (method, path, token), the repository that was made, and the commits, each file name → bytes.

    `refusing`: the HTTP status of every answer, where it is not 0.
    """

    def __init__(self) -> None:
        self.requests: list[tuple[str, str, str]] = []
        self.made: list[dict[str, Any]] = []
        self.commits: list[tuple[str, dict[str, bytes]]] = []
        self.refusing = 0
        self.address = ""

    def answer(self, path: str, body: bytes) -> dict[str, Any]:
        """As the Hub documents it: make a repository, say how each file is to be sent, take a commit."""
        if path == "/api/repos/create":
            self.made.append(json.loads(body))
            return {"url": f"{self.address}/someone/albert", "id": "someone/albert"}
        if "/preupload/" in path:
            files = json.loads(body)["files"]
            return {"files": [{"path": f["path"], "uploadMode": "regular", "shouldIgnore": False} for f in files]}
        if "/commit/" in path:
            lines = [json.loads(line) for line in body.splitlines()]
            files = {
                line["value"]["path"]: base64.b64decode(line["value"]["content"])
                for line in lines if line["key"] == "file"
            }  # fmt: skip
            self.commits.append((lines[0]["value"]["summary"], files))
            return {"commitUrl": f"{self.address}/someone/albert/commit/abc", "commitOid": "abc"}
        return {"warnings": [], "errors": []}


@pytest.fixture
def hub() -> Iterator[Hub]:
    """Listens on this machine while a test runs."""
    kept = Hub()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            if self.headers.get("Transfer-Encoding") == "chunked":
                body = b""
                while size := int(self.rfile.readline(), 16):
                    body += self.rfile.read(size)
                    self.rfile.readline()
                self.rfile.readline()
            else:
                body = self.rfile.read(length)
            kept.requests.append((self.command, self.path, self.headers.get("Authorization", "")))
            answer = {"error": "no"} if kept.refusing else kept.answer(self.path, body)
            data = json.dumps(answer).encode()
            self.send_response(kept.refusing or 200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_POST

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    kept.address = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield kept
    server.shutdown()
    thread.join()
    server.server_close()
