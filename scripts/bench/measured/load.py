"""A port, a path and bodies → the requests per second that a service answers at `connections`, and their times.

Each connection is kept and has one request at a time; the next one follows immediately. Bare protocols of asyncio and
hardly parsed answers keep this process from being the bottleneck: `busy` is its share of a core.
"""

import asyncio
import json
import re
import time
from pathlib import Path

from scripts.bench.measured.stopwatch import Stopwatch, shares

LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)


class Connection(asyncio.Protocol):
    """One request after another until the time is up."""

    def __init__(self, load: "Load", number: int) -> None:
        self.load, self.number = load, number
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport, self.data = transport, b""
        self.ask()

    def ask(self) -> None:
        self.number += 1
        self.sent = time.perf_counter()
        self.transport.write(self.load.requests[self.number % len(self.load.requests)])

    def data_received(self, data: bytes) -> None:
        self.data += data
        head = self.data.find(b"\r\n\r\n")
        if head < 0:
            return
        length = LENGTH.search(self.data, 0, head)
        assert length is not None
        if len(self.data) < head + 4 + int(length[1]):
            return
        now = time.perf_counter()
        if now < self.load.end:
            self.load.seconds.append(now - self.sent)
            self.load.refused += self.data[9:12] != b"200"
            self.data = b""
            self.ask()
        else:
            self.transport.close()

    def connection_lost(self, error: Exception | None) -> None:
        if time.perf_counter() < self.load.end:
            self.ended.set_exception(error or ConnectionError("the service closed a connection that was kept"))
        else:
            self.ended.set_result(None)


class Load:
    """The requests of all connections, in turn, and the seconds of each answer."""

    def __init__(self, path: str, bodies: list[bytes], seconds: float) -> None:
        head = f"POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: "
        self.requests = [f"{head}{len(body)}\r\n\r\n".encode() + body for body in bodies]
        self.length = seconds
        self.seconds: list[float] = []
        self.refused = 0

    async def run(self, port: int, connections: int) -> None:
        loop = asyncio.get_running_loop()
        self.end = time.perf_counter() + self.length
        clients = [
            (await loop.create_connection(lambda number=number: Connection(self, number), "127.0.0.1", port))[1]  # type: ignore[misc]
            for number in range(connections)
        ]
        await asyncio.gather(*(connection.ended for connection in clients))


def main(port: str, path: str, bodies: str, connections: str, seconds: str) -> None:
    texts = json.loads(Path(bodies).read_text(encoding="utf-8"))
    load = Load(path, [json.dumps(body, ensure_ascii=False).encode() for body in texts], float(seconds))
    watch = Stopwatch()
    with watch:
        asyncio.run(load.run(int(port), int(connections)))
    watch.report(
        len(load.seconds),
        **{"wall": float(seconds), "busy": watch.cpu / watch.wall, "refused": load.refused, **shares(load.seconds)},
    )
