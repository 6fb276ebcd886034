"""Models → the service that runs with them, and its answers per second beside those of a constant."""

import json
import re
import signal
import statistics
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from scripts.bench.material import Material
from scripts.bench.rows import Bar, Figure, Row
from scripts.bench.running import ROOT, Process, measure, on_core, python
from stages.command.refusal import Refusal
from stages.engine.options import cores

CONNECTIONS = 32
# Seconds to begin, and to end after SIGTERM.
PATIENCE = 60


class Service(NamedTuple):
    """A service that runs: its port, its process, and the file it logs to."""

    port: int
    process: int
    log: Path


@contextmanager
def running(material: Material, module: str, *arguments: object, core: int | None = None) -> Iterator[Service]:
    """A service in the environment of serve, on one core or all, until the end of the body."""
    log = material.work / "service.log"
    command = [python("serve"), "-m", module, *map(str, arguments)]
    with open(log, "wb") as stream, nullcontext() if core is None else on_core(core):
        process = subprocess.Popen(command, cwd=ROOT, stdout=stream, stderr=stream, start_new_session=True)
    try:
        yield Service(_port(process, log), process.pid, log)
        if process.poll() is not None:
            raise Refusal(f"{' '.join(command)} ended with {process.returncode}:\n{_end(log)}")
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
    raise Refusal(f"the service does not listen:\n{_end(log)}")


def _end(log: Path) -> str:
    return log.read_text(encoding="utf-8", errors="replace")[-2000:].strip()


def http(material: Material) -> Iterator[Row]:
    """One sentence in a request, at 32 connections that are kept: the routes beside one that answers a constant.

    The service has one core and the load another, where there are two.
    """
    sentences, masked = material.usual_sentences, material.masked_sentences
    bodies = material.write("sentences-asked.json", [{"text": text} for text in sentences])
    masked_bodies = material.write("masked-asked.json", [{"text": text} for text in masked])
    rounds: dict[str, list[Process]] = {}
    with running(material, "scripts.bench.measured", "constant_service", material.models, core=0) as service:
        for number in range(material.size.rounds):
            # Three rounds are enough for the routes without a bar.
            more = ("/v1/tokenize", "/v1/fill-mask") if number < 3 else ()
            for path in ("/v1/encode", "/v1/constant", *more):
                file = masked_bodies if path == "/v1/fill-mask" else bodies
                arguments = (service.port, path, file, CONNECTIONS, material.size.seconds)
                with on_core(1):
                    rounds.setdefault(path, []).append(measure("serve", "load", *arguments))
    constants = rounds.pop("/v1/constant")
    for path, measured in rounds.items():
        yield _row(path, measured, constants)


def _row(path: str, measured: list[Process], constants: list[Process]) -> Row:
    p50, p99 = (statistics.median(each.report[share] for each in measured) * 1e3 for share in ("p50", "p99"))
    busy = max(each.report["busy"] for each in [*measured, *constants])
    refused = sum(each.report["refused"] for each in measured)
    rates, constant_rates = ([each.amount / each.wall for each in side] for side in (measured, constants))
    ours, constant = Figure(statistics.median(rates)), Figure(statistics.median(constant_rates))
    name = f"{path.removeprefix('/v1/')}, one sentence, {CONNECTIONS} connections"
    bar, same = Bar("≥", 0.5) if path == "/v1/encode" else None, False if refused else None
    note = (
        f"medians of {len(measured)} rounds; answered in {p50:.1f} ms (median), {p99:.1f} ms (99 %); the load took "
        f"{busy:.0%} of {'another core than the service' if cores() > 1 else 'the one core that is there'}, at most"
        f"{f'; {refused} answers were not 200' * bool(refused)}"
    )
    facts = {"rounds": rates, "busy": busy, "p50_ms": p50, "p99_ms": p99}
    return Row("http", name, "requests per second", ours, constant, "a constant", bar, same, note, facts)


def events(log: Path, name: str) -> list[dict[str, Any]]:
    """The first ten lines of an event in a service's log."""
    with open(log, encoding="utf-8", errors="replace") as stream:
        return [json.loads(line) for line in islice((line for line in stream if f'"event": "{name}"' in line), 10)]
