"""A service at full load with random requests for minutes → its answers, their times, and its memory."""

import json
import os
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from scripts.bench.material import NAMES, Material
from scripts.bench.rows import Bar, Figure, Row
from scripts.bench.running import ROOT, python
from scripts.bench.serve.service import CONNECTIONS, Service, events, running
from stages.command.progress import duration
from stages.command.refusal import Refusal

SEED = 6
# Seconds between samples of the memory.
EVERY = 5.0
POST = ("/v1/tokenize", "/v1/encode", "/v1/decode", "/v1/fill-mask")
MOST_GROWTH = 1.03


def soak(material: Material) -> Iterator[Row]:
    """No 5xx and no bug; memory behind the first minute, one half against the other; seconds of each route."""
    seconds = 60 * material.size.soak_minutes
    arguments = ("--models", material.models, "--port", 0)
    with running(material, "stages.serve", *arguments) as service:
        report, memory = _load(service, seconds)
    bugs = events(service.log, "bug")
    by_status: Counter[str] = Counter()
    for counts in report["counts"].values():
        by_status.update(counts)
    failed = sum(count for status, count in by_status.items() if status.startswith("5"))
    statuses = ", ".join(f"{status}: {count:,}" for status, count in sorted(by_status.items()))
    faults = [*report["wrong"], *(f"bug: {bug['error']} at {bug['route']}" for bug in bugs)]
    facts = {**report, "memory": memory, "bugs": bugs, "every": EVERY}
    note = (
        f"{by_status.total():,} requests on {CONNECTIONS} connections in {duration(seconds)}, "
        f"{report['busy']:.0%} of a core for the load; {statuses}" + "".join(f"; WRONG: {fault}" for fault in faults)
    )
    name, bar = "answers that are 5xx, and bugs in the log", Bar("≤", 0, of_value=True)
    same = False if report["wrong"] else None
    yield Row("soak", name, "answers", Figure(failed + len(bugs)), None, "", bar, same, note, facts)
    yield _memory(memory, seconds)
    times = {f"a valid {route}": shares for route, shares in sorted(report["seconds"].items()) if route in POST}
    for requests, shares in {**times, "all requests": report["all"]}.items():
        p50, p99, longest = (shares[share] * 1e3 for share in ("p50", "p99", "longest"))
        note = f"{shares['requests']:,} answers; median {p50:.1f}, longest {longest:.0f} ms"
        yield Row("soak", f"99 % of {requests} answered within", "milliseconds", Figure(p99), note=note)


def _load(service: Service, seconds: float) -> tuple[dict[str, Any], list[tuple[float, int]]]:
    """The report of the load, and the bytes of memory every few seconds."""
    arguments = [service.port, ",".join(NAMES.values()), CONNECTIONS, seconds, SEED]
    command = [python("serve"), "-m", "scripts.bench.measured", "random_load", *map(str, arguments)]
    memory = []
    start = time.monotonic()
    with tempfile.TemporaryFile("w+") as output, tempfile.TemporaryFile("w+") as errors:
        load = subprocess.Popen(command, cwd=ROOT, stdout=output, stderr=errors)
        try:
            while load.returncode is None:
                memory.append((time.monotonic() - start, resident(service.process)))
                # From the start, so that the samples do not drift.
                with suppress(subprocess.TimeoutExpired):
                    load.wait(max(0.0, start + len(memory) * min(EVERY, seconds / 4) - time.monotonic()))
        finally:
            if load.poll() is None:
                load.terminate()
                load.wait()
        errors.seek(0)
        if load.returncode:
            raise Refusal(f"the load ended with {load.returncode}:\n{errors.read()[-2000:]}")
        output.seek(0)
        return json.load(output), memory


def resident(process: int) -> int:
    """Bytes of memory of a process. Refuses one that has ended."""
    try:
        with open(f"/proc/{process}/statm", encoding="utf-8") as stream:
            return int(stream.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, IndexError):
        raise Refusal("the service ended under the load; its log tells why")


def _memory(memory: list[tuple[float, int]], seconds: float) -> Row:
    """The row of the memory: the second half of the time behind the first minute against the first half."""
    first, most = memory[0][1], max(size for _, size in memory)
    name, facts = "memory of the service", {"first": first, "most": most}
    if seconds < 180:
        note = f"{most / 1e6:.0f} MB at most; whether it grows, 3 minutes and more tell"
        return Row("soak", name, "bytes, the last", Figure(memory[-1][1]), note=note, facts=facts)
    # The memory of current requests comes on top, and varies by a tenth. A leak lifts the floor.
    middle = (60 + seconds) / 2
    halves = ((60, middle), (middle, seconds))
    sizes = [sorted(size for second, size in memory if begin <= second < end) for begin, end in halves]
    before, last = (Figure(half[len(half) // 10]) for half in sizes)
    note = f"a look every {EVERY:g} s; {first / 1e6:.0f} MB at the start, {most / 1e6:.0f} MB at most"
    unit, bar = "bytes, lower tenth of the later half", Bar("≤", MOST_GROWTH)
    return Row("soak", name, unit, last, before, "the half before it", bar, None, note, facts)
