"""Requests to a service on many connections, each with one request at a time → its answers and their times."""

import asyncio
import json
import os
import sys
from collections import Counter, defaultdict
from collections.abc import Callable, Coroutine
from itertools import count, cycle, islice
from pathlib import Path
from time import perf_counter
from typing import Any

from scripts.bench.measured.random_requests import Draw, Request, request
from scripts.bench.measured.stopwatch import Stopwatch

WINDOW = 5.0
# Seconds that a client waits: longer than the service's own 30 s.
PATIENCE = 45.0


class Load:
    """Clients of a service for some seconds, and the results of their requests.

    `wrong`: statuses that a request does not allow, and answers that did not come.
    """

    def __init__(self, port: str, seconds: str) -> None:
        self.port, self.seconds, self.watch = int(port), float(seconds), Stopwatch()
        self.counts: dict[str, Counter[str]] = defaultdict(Counter)
        self.answers: list[tuple[float, str, float]] = []  # when, of which request, in how many seconds
        self.wrong: list[str] = []
        self.memory: list[tuple[float, int]] = []  # when, bytes

    def run(self, clients: list[Coroutine[Any, Any, None]]) -> None:
        """Run all clients. `busy` is then the share of a core that they took."""

        async def together() -> None:
            await asyncio.gather(*clients)

        self.begin = perf_counter()
        try:
            with self.watch:
                asyncio.run(together())
        except (ConnectionRefusedError, FileNotFoundError, ProcessLookupError):
            sys.exit("the service ended under the load; its log tells why")
        self.busy = self.watch.cpu / self.watch.wall

    def is_over(self) -> bool:
        """Whether the time is up."""
        return perf_counter() - self.begin >= self.seconds

    async def client(self, draw: Callable[[], Request]) -> None:
        """One request after another, on a connection that is kept while the service keeps it."""
        while not self.is_over():
            reader, writer = await asyncio.open_connection("127.0.0.1", self.port, limit=1 << 22)
            usable = True
            while usable and not self.is_over():
                sent, start = draw(), perf_counter()
                writer.write(sent.data)
                try:
                    status, body, usable = await answer(reader)
                except ConnectionError as error:
                    self.wrong.append(f"{sent.name}: {error}")
                    break
                now = perf_counter()
                self.counts[sent.name][str(status)] += 1
                self.answers.append((now - self.begin, sent.name, now - start))
                if status not in sent.statuses:
                    statuses = " or ".join(map(str, sorted(sent.statuses)))
                    self.wrong.append(f"{sent.name}: {status}, not {statuses}: {body[:300]!r}")
            writer.close()

    async def samples(self, process: str, every: float) -> None:
        """The bytes of memory of the service's process."""
        # From the start, so that the samples do not drift.
        for number in count():
            await asyncio.sleep(self.begin + number * every - perf_counter())
            if self.is_over():
                break
            pages = int(Path(f"/proc/{process}/statm").read_text().split()[1])
            self.memory.append((perf_counter() - self.begin, pages * os.sysconf("SC_PAGE_SIZE")))

    async def slow_client(self, draw: Draw) -> None:
        """Requests that arrive in small pieces, or not whole, or whose sender leaves before the answer."""
        while not self.is_over():
            data = draw.request("usual").data
            reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
            manner = draw.random.choice(["slow", "half and gone", "whole and gone", "only opened"])
            if manner == "slow":
                for begin in range(0, len(data), 40):
                    writer.write(data[begin : begin + 40])
                    await asyncio.sleep(0.05)
                try:
                    status, body, _ = await answer(reader)
                    self.counts[manner][str(status)] += 1
                    if status != 200:
                        self.wrong.append(f"a slow request: {status}: {body[:300]!r}")
                except ConnectionError as error:
                    self.wrong.append(f"a slow request: {error}")
            else:
                whole = {"half and gone": len(data) // 2, "whole and gone": len(data), "only opened": 0}
                writer.write(data[: whole[manner]])
                await asyncio.sleep(draw.random.random() * 0.2)
                self.counts[manner]["left"] += 1
                if draw.random.random() < 0.5:
                    writer.transport.abort()
            writer.close()


async def answer(reader: asyncio.StreamReader) -> tuple[int, bytes, bool]:
    """Status, body, and whether the connection is kept. ConnectionError where no answer comes."""
    try:
        async with asyncio.timeout(PATIENCE):
            head = await reader.readuntil(b"\r\n\r\n")
            lines = head.lower().split(b"\r\n")
            fields = dict(line.split(b": ", 1) for line in lines[1:] if line)
            body = await reader.readexactly(int(fields.get(b"content-length", b"0")))
    except TimeoutError:
        raise ConnectionError(f"no answer in {PATIENCE:g} s")
    except (asyncio.IncompleteReadError, ConnectionError):
        raise ConnectionError("the connection was closed without an answer")
    return int(head[9:12]), body, fields.get(b"connection") != b"close"


def shares(seconds: list[float]) -> dict[str, float]:
    """Median, 99th percentile and the longest."""
    ordered, number = sorted(seconds), len(seconds)
    return {"requests": number, "p50": ordered[number // 2], "p99": ordered[number * 99 // 100], "longest": ordered[-1]}


def constant(port: str, path: str, bodies: str, connections: str, seconds: str) -> None:
    """Valid requests with these bodies in turn: the answers that came in time, and their times."""
    load = Load(port, seconds)
    requests = [request(path, path, {200}, body) for body in json.loads(Path(bodies).read_text(encoding="utf-8"))]
    turns = [islice(cycle(requests), number, None) for number in range(int(connections))]
    load.run([load.client(turn.__next__) for turn in turns])
    times = [taken for moment, _, taken in load.answers if moment < load.seconds]
    load.watch.report(
        len(times), **{"wall": load.seconds, "busy": load.busy, "refused": len(load.wrong), **shares(times)}
    )


def hostile(port: str, process: str, models: str, seconds: str, seed: str) -> None:
    """Hostile requests, one after the other, and `/healthz` beside them all the time.

    Of each kind, and of `/healthz`, the longest answer in seconds; the most memory.
    """
    load, draw = Load(port, seconds), Draw(int(seed), models.split(","))
    health = request("/healthz", "/healthz", {200}, method="GET")
    load.run([load.samples(process, 0.1), load.client(lambda: health), load.client(draw.hostile)])
    longest: dict[str, float] = defaultdict(float)
    for _, name, taken in load.answers:
        longest[name] = max(longest[name], taken)
    most = max(size for _, size in load.memory)
    print(json.dumps({"counts": load.counts, "longest": longest, "most": most, "wrong": load.wrong[:20]}))


def mixed(port: str, process: str, models: str, connections: str, seconds: str, every: str, seed: str) -> None:
    """Random requests, on every eighth connection slowly; `process` is the service's, whose memory is sampled.

    Answers by kind and status, their times by route and by window.
    """
    load, draw = Load(port, seconds), Draw(int(seed), models.split(","))
    numbers = range(int(connections))
    clients = [load.slow_client(draw) if number % 8 == 0 else load.client(draw.request) for number in numbers]
    load.run([load.samples(process, float(every)), *clients])
    by_route: dict[str, list[float]] = defaultdict(list)
    by_window: dict[int, list[float]] = defaultdict(list)
    for moment, name, taken in load.answers:
        by_window[int(moment / WINDOW)].append(taken)
        if name.startswith("/") and ", " not in name:
            by_route[name].append(taken)
    report = {
        "counts": load.counts,
        "seconds": {name: shares(each) for name, each in by_route.items()},
        "all": shares([taken for _, _, taken in load.answers]),
        "window": WINDOW,
        "windows": [shares(by_window[place]) if by_window[place] else None for place in range(max(by_window) + 1)],
        "busy": load.busy,
        "memory": load.memory,
        "wrong": load.wrong[:20],
    }
    print(json.dumps(report))
