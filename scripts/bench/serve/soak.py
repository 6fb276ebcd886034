"""A service at full load with random requests for minutes → what it answered, how soon, and the memory it took."""

import json
import os
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

from scripts.bench.rows import Bar
from scripts.bench.running import ROOT, python
from scripts.bench.serve.material import NAMES, Material
from scripts.bench.serve.rows import Row
from scripts.bench.serve.service import CONNECTIONS, Service, events, running
from stages.command.progress import duration
from stages.command.refusal import Refusal

SEED = 6
# Seconds between looks at the memory.
EVERY = 5.0
POST = ("/v1/tokenize", "/v1/encode", "/v1/decode", "/v1/fill-mask")
MOST_GROWTH = 1.03


def soak(material: Material) -> Iterator[Row]:
    """No 5xx and no bug; memory behind the first minute, one half against the other; seconds of each route."""
    seconds = 60 * material.size.soak_minutes
    arguments = ("--models", material.models, "--port", 0)
    with running(material, "stages.serve", *arguments) as service:
        told, memory = _loaded(service, seconds)
    bugs = events(service.log, "bug")
    asked = sum(sum(counts.values()) for counts in told["counts"].values())
    by_status: Counter[str] = Counter()
    for counts in told["counts"].values():
        by_status.update(counts)
    failed = sum(count for status, count in by_status.items() if status.startswith("5"))
    statuses = ", ".join(f"{status}: {count:,}" for status, count in sorted(by_status.items()))
    faults = [*told["wrong"], *(f"bug: {bug['error']} at {bug['route']}" for bug in bugs)]
    facts = {**told, "memory": memory, "bugs": bugs, "every": EVERY}
    load = f"{asked:,} requests on {CONNECTIONS} connections in {duration(seconds)}"
    yield Row(
        "soak",
        "answers that are 5xx, and bugs in the log",
        "answers",
        failed + len(bugs),
        bar=Bar("≤", 0, of_value=True),
        equal=False if told["wrong"] else None,
        note=f"{load}, {told['busy']:.0%} of a core for the load; {statuses}"
        + "".join(f"; WRONG: {fault}" for fault in faults),
        facts=facts,
    )
    yield _memory(memory, seconds)
    times = {f"a valid {route}": shares for route, shares in sorted(told["seconds"].items()) if route in POST}
    for what, shares in {**times, "all requests": told["all"]}.items():
        median, longest = (shares[share] * 1e3 for share in ("p50", "longest"))
        yield Row(
            "soak",
            f"99 % of {what} answered within",
            "milliseconds",
            shares["p99"] * 1e3,
            note=f"{shares['requests']:,} answers; median {median:.1f}, longest {longest:.0f} ms",
        )


def _loaded(service: Service, seconds: float) -> tuple[dict[str, Any], list[tuple[float, int]]]:
    """What the load tells, and the bytes of memory every few seconds."""
    arguments = [service.port, ",".join(NAMES.values()), CONNECTIONS, seconds, SEED]
    command = [python("serve"), "-m", "scripts.bench.measured.random_load", *map(str, arguments)]
    memory = []
    start = time.monotonic()
    with tempfile.TemporaryFile("w+") as output, tempfile.TemporaryFile("w+") as errors:
        load = subprocess.Popen(command, cwd=ROOT, stdout=output, stderr=errors)
        try:
            while True:
                memory.append((time.monotonic() - start, resident(service.process)))
                try:
                    # From the start, so that looks do not drift.
                    load.wait(max(0.0, start + len(memory) * min(EVERY, seconds / 4) - time.monotonic()))
                    break
                except subprocess.TimeoutExpired:
                    continue
        finally:
            if load.poll() is None:
                load.terminate()
                load.wait()
        errors.seek(0)
        if load.returncode:
            raise Refusal(f"the load ended with {load.returncode}:\n{errors.read()[-2000:]}")
        output.seek(0)
        told: dict[str, Any] = json.load(output)
    return told, memory


def resident(process: int) -> int:
    """Bytes of memory that a process has. Refuses one that is no more."""
    try:
        with open(f"/proc/{process}/statm", encoding="utf-8") as stream:
            return int(stream.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, IndexError):
        raise Refusal("the service ended under the load; its log tells why")


def _floor(sizes: list[int]) -> int:
    """What a tenth of the looks stay below."""
    return sorted(sizes)[len(sizes) // 10]


def _memory(memory: list[tuple[float, int]], seconds: float) -> Row:
    """The row of the memory: the second half of what is behind the first minute against the first half."""
    most = max(size for _, size in memory)
    unit = "bytes, lower tenth of the later half"
    facts = {"first": memory[0][1], "most": most}
    if seconds < 180:
        note = f"{most / 1e6:.0f} MB at most; whether it grows, 3 minutes and more tell"
        return Row("soak", "memory of the service", "bytes, the last", memory[-1][1], note=note, facts=facts)
    # What is in work at a look comes on top, and goes up and down by a tenth. What is kept for good lifts the floor.
    middle = (60 + seconds) / 2
    before = _floor([size for at, size in memory if 60 <= at < middle])
    last = _floor([size for at, size in memory if middle <= at < seconds])
    note = f"a look every {EVERY:g} s; {memory[0][1] / 1e6:.0f} MB at the start, {most / 1e6:.0f} MB at most"
    return Row(
        "soak",
        "memory of the service",
        unit,
        last,
        before,
        "the half before it",
        Bar("≤", MOST_GROWTH),
        None,
        note,
        facts,
    )
