"""Models → the service that runs with them: its answers per second, and its answers, times and memory at full load."""

import json
import re
import signal
import statistics
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from itertools import islice
from pathlib import Path

from scripts.bench.material import NAMES, Material
from scripts.bench.rows import Bar, Row
from scripts.bench.running import ROOT, Figure, Process, measure, on_core, python, run
from stages.command.progress import duration
from stages.command.refusal import Refusal
from stages.engine.options import cores

CONNECTIONS = 32
# Seconds to begin, and to end after SIGTERM.
PATIENCE = 60
SEED = 6
# Seconds between samples of the memory.
EVERY = 5.0
POST = ("/v1/tokenize", "/v1/encode", "/v1/decode", "/v1/fill-mask")
MOST_GROWTH = 1.03


@contextmanager
def running(log: Path, *command: object, core: int | None = None) -> Iterator[tuple[int, int]]:
    """A service in the environment of serve, on one core or all, until the end of the body: its port and process."""
    words = [python("serve"), "-m", *map(str, command)]
    with open(log, "wb") as stream, nullcontext() if core is None else on_core(core):
        process = subprocess.Popen(words, cwd=ROOT, stdout=stream, stderr=stream, start_new_session=True)
    try:
        yield _port(process, log), process.pid
        if process.poll() is not None:
            end = log.read_text(encoding="utf-8", errors="replace")[-2000:].strip()
            raise Refusal(f"{' '.join(words)} ended with {process.returncode}:\n{end}")
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _port(process: "subprocess.Popen[bytes]", log: Path) -> int:
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end and process.poll() is None:
        address = re.search(r'"event": "listening", "address": "http://[^"]*:(\d+)"', log.read_text(encoding="utf-8"))
        if address:
            return int(address[1])
        time.sleep(0.05)
    raise Refusal(f"the service does not listen:\n{log.read_text(encoding='utf-8', errors='replace')[-2000:].strip()}")


def http(material: Material) -> Iterator[Row]:
    """One sentence in a request, at 32 connections that are kept: the routes beside one that answers a constant.

    The service has one core and the load another, where there are two.
    """
    bodies, masked_bodies = (
        material.write(name, [{"text": text} for text in texts])
        for name, texts in (("asked.json", material.usual_sentences), ("masked.json", material.masked_sentences))
    )
    rounds: dict[str, list[Process]] = {}
    command = ("scripts.bench.measured", "served.constant", material.models)
    with running(material.work / "service.log", *command, core=0) as (port, _):
        for number in range(material.size.rounds):
            # Three rounds are enough for the routes without a bar.
            more = ("tokenize", "fill-mask") if number < 3 else ()
            for route in ("encode", "constant", *more):
                file = masked_bodies if route == "fill-mask" else bodies
                arguments = (port, f"/v1/{route}", file, CONNECTIONS, material.size.seconds)
                with on_core(1):
                    rounds.setdefault(route, []).append(measure("serve", "load.constant", *arguments))
    constants = rounds.pop("constant")
    for route, measured in rounds.items():
        p50, p99 = (statistics.median(each.report[share] for each in measured) * 1e3 for share in ("p50", "p99"))
        busy = max(each.report["busy"] for each in [*measured, *constants])
        refused = sum(each.report["refused"] for each in measured)
        rates, constant_rates = ([each.amount / each.wall for each in side] for side in (measured, constants))
        ours, constant = Figure(statistics.median(rates)), Figure(statistics.median(constant_rates))
        name = f"{route}, one sentence, {CONNECTIONS} connections"
        bar, same = Bar("≥", 0.5) if route == "encode" else None, False if refused else None
        note = (
            f"medians of {len(measured)} rounds; answered in {p50:.1f} ms (median), {p99:.1f} ms (99 %); the load took "
            f"{busy:.0%} of {'another core than the service' if cores() > 1 else 'the one core that is there'}, at most"
            f"{f'; {refused} answers were not 200' * bool(refused)}"
        )
        facts = {"rounds": rates, "busy": busy, "p50_ms": p50, "p99_ms": p99}
        yield Row("http", name, "requests per second", ours, constant, "a constant", bar, same, note, facts)


def soak(material: Material) -> Iterator[Row]:
    """No 5xx and no bug; memory behind the first minute, one half against the other; seconds of each route."""
    seconds, log = 60 * material.size.soak_minutes, material.work / "service.log"
    with running(log, "stages.serve", "--models", material.models, "--port", 0) as (port, process):
        arguments = (port, process, ",".join(NAMES.values()), CONNECTIONS, seconds, min(EVERY, seconds / 4), SEED)
        load = run("serve", "scripts.bench.measured", "load.mixed", *arguments, one_core=False)
    report = json.loads(load.output)
    with open(log, encoding="utf-8", errors="replace") as lines:
        bugs = [json.loads(line) for line in islice((line for line in lines if '"event": "bug"' in line), 10)]
    by_status = sum(map(Counter, report["counts"].values()), Counter[str]())
    failed = sum(count for status, count in by_status.items() if status.startswith("5"))
    statuses = ", ".join(f"{status}: {count:,}" for status, count in sorted(by_status.items()))
    faults = [*report["wrong"], *(f"bug: {bug['error']} at {bug['route']}" for bug in bugs)]
    facts = {**report, "bugs": bugs, "every": EVERY}
    note = (
        f"{by_status.total():,} requests on {CONNECTIONS} connections in {duration(seconds)}, "
        f"{report['busy']:.0%} of a core for the load; {statuses}" + "".join(f"; WRONG: {fault}" for fault in faults)
    )
    name, bar = "answers that are 5xx, and bugs in the log", Bar("≤", 0, of_value=True)
    same = False if report["wrong"] else None
    yield Row("soak", name, "answers", Figure(failed + len(bugs)), None, "", bar, same, note, facts)
    yield _memory(report["memory"], seconds)
    times = {f"a valid {route}": shares for route, shares in sorted(report["seconds"].items()) if route in POST}
    for requests, shares in {**times, "all requests": report["all"]}.items():
        p50, p99, longest = (shares[share] * 1e3 for share in ("p50", "p99", "longest"))
        note = f"{shares['requests']:,} answers; median {p50:.1f}, longest {longest:.0f} ms"
        yield Row("soak", f"99 % of {requests} answered within", "milliseconds", Figure(p99), note=note)


def hostile(material: Material) -> Iterator[Row]:
    """Bodies under 1 MiB that cost as much as they can: `/healthz` meanwhile, the longest answer, the most memory."""
    seconds, log = 60 * material.size.soak_minutes / 2, material.work / "service.log"
    with running(log, "stages.serve", "--models", material.models, "--port", 0) as (port, process):
        arguments = (port, process, ",".join(NAMES.values()), seconds, SEED)
        load = run("serve", "scripts.bench.measured", "load.hostile", *arguments, one_core=False)
    report = json.loads(load.output)
    longest, most = report["longest"], Figure(report["most"])
    by_status = sum((Counter(each) for name, each in report["counts"].items() if name != "/healthz"), Counter[str]())
    same = False if report["wrong"] else None
    note = f"{by_status.total():,} bodies in {duration(seconds)}" + "".join(f"; WRONG: {it}" for it in report["wrong"])
    health, answer = Figure(longest.pop("/healthz")), Figure(max(longest.values()))
    limits = (Bar("≤", number, of_value=True) for number in (0.5, 30, 500e6))
    for name, unit, figure in (
        ("/healthz beside hostile bodies", "seconds, the longest", health),
        ("an answer to a hostile body", "seconds, the longest", answer),
        ("memory of the service with hostile bodies", "bytes, the most", most),
    ):
        yield Row("hostile", name, unit, figure, None, "", next(limits), same, note, {"longest": longest})


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
