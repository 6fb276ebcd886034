"""A port, models, seconds and a seed → random requests, valid and invalid, on many connections, and their results.

Printed as JSON: answers by kind of request and status, seconds of the answers by route and by time window, and faults:
statuses that the request does not allow, and answers that did not come.
"""

import asyncio
import json
import random
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from typing import Any

import orjson

from scripts.bench.measured.stopwatch import shares

WINDOW = 5.0
# Seconds that a client waits: longer than the service's own 30 s.
PATIENCE = 45.0
# Routes and their weights: a mask takes thirty times as long as a sentence's tokens.
POST = {"/v1/tokenize": 3, "/v1/encode": 3, "/v1/decode": 3, "/v1/fill-mask": 1}
GET = ("/", "/v1/models", "/healthz", "/readyz", "/metrics", "/openapi.json")
JAPANESE = [chr(point) for ends in ("ぁん", "ァヶ", "一龠") for point in range(*map(ord, ends))]
# Everything but surrogates, which UTF-8 cannot hold.
ALL_PLANES = [range(0x20, 0xD800), range(0xE000, 0x110000)]
MASK = "[MASK]"
Request = tuple[str, bytes, set[int]]


class Draw:
    """Random requests: their kind, their bytes, and the statuses that they may get."""

    def __init__(self, seed: int, models: list[str]) -> None:
        self.random, self.models = random.Random(seed), models
        # Long texts are pieces of these: to draw their characters one by one would be most of this process's work.
        self.long = ["".join(map(self.character, range(120_000))) for _ in range(4)]
        self.kinds: dict[Callable[[], Request], int] = {
            self.usual: 50,
            self.batch: 10,
            self.long_text: 2,
            self.get: 12,
            self.wrong_types: 6,
            self.broken_json: 5,
            self.wrong_utf8: 3,
            self.too_large: 1,
            self.unknown_model: 4,
            self.unknown_path: 4,
            self.wrong_method: 2,
            self.wrong_kind: 1,
        }

    def request(self) -> Request:
        [kind] = self.random.choices(list(self.kinds), list(self.kinds.values()))
        return kind()

    def path(self) -> str:
        [path] = self.random.choices(list(POST), list(POST.values()))
        return path

    def character(self, number: int = 0) -> str:
        """Half of the characters are Japanese, half of any plane."""
        if self.random.random() < 0.5:
            return self.random.choice(JAPANESE)
        points = self.random.choice(ALL_PLANES)
        return chr(self.random.randrange(points.start, points.stop))

    def text(self, most: int = 120) -> str:
        """Up to `most` characters; one in ten is empty."""
        length = 0 if self.random.random() < 0.1 else self.random.randrange(1, most)
        start = self.random.randrange(100_000)
        return self.random.choice(self.long)[start : start + length]

    def with_mask(self) -> str:
        return self.text(60) + self.random.choice([MASK, MASK, MASK + "の" + MASK]) + self.text(60)

    def post(self, name: str, path: str, body: Any, statuses: set[int]) -> Request:
        data = body if isinstance(body, bytes) else orjson.dumps(body)
        head = f"POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
        return name, f"{head}content-length: {len(data)}\r\n\r\n".encode() + data, statuses

    def named(self) -> dict[str, Any]:
        return {"model": self.random.choice(self.models)} if self.random.random() < 0.5 else {}

    def body(self, path: str, text: Callable[[], str], texts: int = 0) -> dict[str, Any]:
        """A valid body for a route, of one text or of `texts`."""
        body: dict[str, Any] = self.named()
        if path == "/v1/decode":
            ids = [[self.random.randrange(500) for _ in text()] for _ in range(texts or 1)]
            return {**body, "batch": ids} if texts else {**body, "ids": ids[0]}
        if path == "/v1/encode" and self.random.random() < 0.5:
            body |= {"special_tokens": self.random.random() < 0.5, "max_length": self.random.choice([None, 3, 64, 512])}
        if path == "/v1/fill-mask":
            body |= {"top_k": self.random.randrange(1, 101)} if self.random.random() < 0.5 else {}
            text = self.with_mask
        return {**body, "texts": [text() for _ in range(texts)]} if texts else {**body, "text": text()}

    def usual(self) -> Request:
        path = self.path()
        return self.post(path, path, self.body(path, self.text), {200})

    def batch(self) -> Request:
        path = self.path()
        most = 8 if path == "/v1/fill-mask" else self.random.choice([8, 256])
        body = self.body(path, self.text, self.random.randrange(1, most + 1))
        return self.post(f"{path}, a batch", path, body, {200})

    def long_text(self) -> Request:
        """Up to the limit of 100,000 characters and just above it."""
        path = self.random.choice(["/v1/tokenize", "/v1/encode"])
        length = self.random.choice([1_000, 20_000, 99_999, 100_000, 100_001])
        body = orjson.dumps({**self.named(), "text": self.random.choice(self.long)[:length]})
        return self.post(f"{path}, long", path, body, {200 if length <= 100_000 else 422})

    def get(self) -> Request:
        path = self.random.choice(GET)
        return path, f"GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n".encode(), {200}

    def wrong_types(self) -> Request:
        path = self.path()
        value: Any = self.random.choice([None, 7, True, 0.5, {}, [], [[]], {"text": 1}])
        field = self.random.choice(["text", "texts", "ids", "batch", "more"])
        body: Any = self.random.choice([value, {field: value}, {**self.body(path, self.text), "more": value}])
        # Nothing is decoded to nothing.
        valid = path == "/v1/decode" and body in ({"ids": []}, {"batch": [[]]})
        return self.post("wrong types", path, body, {200} if valid else {422})

    def broken_json(self) -> Request:
        path = self.path()
        whole = orjson.dumps(self.body(path, self.text))
        cut = whole[: self.random.randrange(len(whole))]
        broken = self.random.choice([cut, whole + b"}", b"{" * 100_000, b"NaN", b'{"text": "\\ud800"}'])
        return self.post("broken JSON", path, broken, {422})

    def wrong_utf8(self) -> Request:
        noise = self.random.randbytes(self.random.randrange(1, 60)).replace(b'"', b"").replace(b"\\", b"")
        path = self.path()
        return self.post("wrong UTF-8", path, b'{"text": "' + noise + b'\xff"}', {422})

    def too_large(self) -> Request:
        return self.post("too large", self.path(), b'{"text": "' + b"a" * (1 << 20) + b'"}', {413})

    def unknown_model(self) -> Request:
        path = self.path()
        return self.post("unknown model", path, {**self.body(path, self.text), "model": self.text(30)}, {404})

    def unknown_path(self) -> Request:
        paths = ["/v1", "/v1/", "/v1/encode/x", "/page/none.js", "/page/..%2f..%2fapp.py", "/%00", "/v2/encode"]
        return self.post("unknown path", self.random.choice(paths), {"text": "文"}, {404, 405, 307})

    def wrong_method(self) -> Request:
        method, path = self.random.choice(["PUT", "DELETE", "GET", "OPTIONS"]), self.path()
        return "wrong method", f"{method} {path} HTTP/1.1\r\nhost: localhost\r\n\r\n".encode(), {405}

    def wrong_kind(self) -> Request:
        _, request, _ = self.usual()
        return "not called JSON", request.replace(b"application/json", b"text/plain", 1), {415}


class Results:
    """The results of the requests."""

    def __init__(self, begin: float) -> None:
        self.begin = begin
        self.counts: dict[str, Counter[str]] = defaultdict(Counter)
        self.seconds: dict[str, list[float]] = defaultdict(list)
        self.windows: list[list[float]] = []
        self.wrong: list[str] = []

    def answered(self, name: str, status: int, seconds: float, expected: set[int], body: bytes) -> None:
        self.counts[name][str(status)] += 1
        if name.startswith("/") and ", " not in name:
            self.seconds[name].append(seconds)
        place = int((time.perf_counter() - self.begin) / WINDOW)
        while len(self.windows) <= place:
            self.windows.append([])
        self.windows[place].append(seconds)
        if status not in expected:
            self.fault(f"{name}: {status}, not {' or '.join(map(str, sorted(expected)))}: {body[:300]!r}")

    def fault(self, text: str) -> None:
        if len(self.wrong) < 20:
            self.wrong.append(text)


async def answer(reader: asyncio.StreamReader) -> tuple[int, bytes, bool]:
    """Status, body, and whether the connection is kept. ConnectionError where it ends before."""
    try:
        head = await reader.readuntil(b"\r\n\r\n")
        lines = head.lower().split(b"\r\n")
        fields = dict(line.split(b": ", 1) for line in lines[1:] if line)
        body = await reader.readexactly(int(fields.get(b"content-length", b"0")))
    except asyncio.IncompleteReadError:
        raise ConnectionError("the connection ended") from None
    return int(head[9:12]), body, fields.get(b"connection") != b"close"


async def client(port: int, draw: Draw, results: Results, end: float) -> None:
    """One request after another, on a connection that is kept while the service keeps it."""
    while time.perf_counter() < end:
        reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1 << 22)
        usable = True
        while usable and time.perf_counter() < end:
            name, request, expected = draw.request()
            start = time.perf_counter()
            writer.write(request)
            try:
                async with asyncio.timeout(PATIENCE):
                    status, body, usable = await answer(reader)
            except TimeoutError:
                results.fault(f"{name}: no answer in {PATIENCE:g} s")
                break
            except ConnectionError:
                results.fault(f"{name}: the connection was closed without an answer")
                break
            results.answered(name, status, time.perf_counter() - start, expected, body)
        writer.close()


async def slow_client(port: int, draw: Draw, results: Results, end: float) -> None:
    """Requests that arrive in small pieces, or not whole, or whose sender leaves before the answer."""
    while time.perf_counter() < end:
        _, request, _ = draw.usual()
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        manner = draw.random.choice(["slow", "half and gone", "whole and gone", "only opened"])
        if manner == "slow":
            for begin in range(0, len(request), 40):
                writer.write(request[begin : begin + 40])
                await asyncio.sleep(0.05)
            try:
                async with asyncio.timeout(PATIENCE):
                    status, body, _ = await answer(reader)
                results.counts["slow"][str(status)] += 1
                if status != 200:
                    results.fault(f"a slow request: {status}: {body[:300]!r}")
            except (TimeoutError, ConnectionError) as error:
                results.fault(f"a slow request: {error or 'no answer'}")
        else:
            sent = {"half and gone": len(request) // 2, "whole and gone": len(request), "only opened": 0}[manner]
            writer.write(request[:sent])
            await asyncio.sleep(draw.random.random() * 0.2)
            results.counts[manner]["left"] += 1
            transport = writer.transport
            assert isinstance(transport, asyncio.Transport)
            if draw.random.random() < 0.5:
                transport.abort()
        writer.close()


async def run(port: int, draw: Draw, connections: int, results: Results, end: float) -> None:
    """Every eighth connection is a slow one."""
    clients = [(slow_client if number % 8 == 0 else client)(port, draw, results, end) for number in range(connections)]
    await asyncio.gather(*clients)


def main(port: str, models: str, connections: str, seconds: str, seed: str) -> None:
    draw = Draw(int(seed), models.split(","))
    begin = time.perf_counter()
    results = Results(begin)
    asyncio.run(run(int(port), draw, int(connections), results, begin + float(seconds)))
    report = {
        "counts": results.counts,
        "seconds": {name: shares(each) for name, each in results.seconds.items()},
        "all": shares([each for window in results.windows for each in window]),
        "window": WINDOW,
        "windows": [shares(window) if window else None for window in results.windows],
        "busy": time.process_time() / (time.perf_counter() - begin),
        "wrong": results.wrong,
    }
    print(json.dumps(report))
