"""A port, a path and bodies → how many requests a second a service answers at so many connections, and how soon.

Each connection is kept and has one request at a time; the next one follows immediately. Bare protocols of asyncio and
answers parsed no further than they must be, so that this process is not what is measured: `busy` is its share of
a core.
"""

import asyncio
import json
import re
import resource
import sys
import time

LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)


class Connection(asyncio.Protocol):
    """One request after another until the time is up."""

    def __init__(self, load: "Load", number: int) -> None:
        self.load, self.number = load, number
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport, self.begun = transport, b""
        self.ask()

    def ask(self) -> None:
        self.number += 1
        self.sent = time.perf_counter()
        self.transport.write(self.load.requests[self.number % len(self.load.requests)])

    def data_received(self, data: bytes) -> None:
        self.begun += data
        head = self.begun.find(b"\r\n\r\n")
        if head < 0:
            return
        length = LENGTH.search(self.begun, 0, head)
        assert length is not None
        if len(self.begun) < head + 4 + int(length[1]):
            return
        now = time.perf_counter()
        if now < self.load.end:
            self.load.seconds.append(now - self.sent)
            self.load.refused += self.begun[9:12] != b"200"
            self.begun = b""
            self.ask()
        else:
            self.transport.close()

    def connection_lost(self, error: Exception | None) -> None:
        if time.perf_counter() < self.load.end:
            self.ended.set_exception(error or ConnectionError("the service closed a connection that was kept"))
        else:
            self.ended.set_result(None)


class Load:
    """What all connections share: the requests, in turn, and the seconds that each answer took."""

    def __init__(self, path: str, bodies: list[bytes], seconds: float) -> None:
        head = f"POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: "
        self.requests = [f"{head}{len(body)}\r\n\r\n".encode() + body for body in bodies]
        self.length = seconds
        self.seconds: list[float] = []
        self.refused = 0

    async def run(self, port: int, connections: int) -> None:
        loop = asyncio.get_running_loop()
        self.end = time.perf_counter() + self.length
        made = [
            (await loop.create_connection(lambda number=number: Connection(self, number), "127.0.0.1", port))[1]  # type: ignore[misc]
            for number in range(connections)
        ]
        await asyncio.gather(*(connection.ended for connection in made))


def main(port: str, path: str, bodies: str, connections: str, seconds: str) -> None:
    with open(bodies, encoding="utf-8") as stream:
        given = [json.dumps(body, ensure_ascii=False).encode() for body in json.load(stream)]
    load = Load(path, given, float(seconds))
    start = time.perf_counter()
    before = resource.getrusage(resource.RUSAGE_SELF)
    asyncio.run(load.run(int(port), int(connections)))
    wall = time.perf_counter() - start
    after = resource.getrusage(resource.RUSAGE_SELF)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    took = sorted(load.seconds)
    told = {
        "amount": len(took),
        "cpu": cpu,
        "wall": float(seconds),
        "busy": cpu / wall,
        "refused": load.refused,
        "p50": took[len(took) // 2],
        "p99": took[len(took) * 99 // 100],
    }
    print(json.dumps(told))


if __name__ == "__main__":
    main(*sys.argv[1:])
