"""Models → the service that runs with them, and what it answers at so many connections beside a constant."""

import json
import re
import signal
import statistics
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any, NamedTuple

from scripts.bench.rows import Bar
from scripts.bench.running import ROOT, Measured, measure, python
from scripts.bench.serve.material import Material, on_core
from scripts.bench.serve.rows import Row
from stages.command.refusal import Refusal
from stages.engine.options import cores

CONNECTIONS = 32
# Seconds: to begin, and to end once told.
PATIENCE = 60
UNIT = "requests per second"


class Service(NamedTuple):
    """A service that runs: its port, its process, and the file it logs to."""

    port: int
    process: int
    log: Path


@contextmanager
def running(material: Material, module: str, *arguments: object, core: int | None = None) -> Iterator[Service]:
    """A service of the tokenizer's environment, on one processor or all; at the end of the body it is told to end."""
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
        found = re.search(r'"event": "listening", "address": "http://[^"]*:(\d+)"', log.read_text(encoding="utf-8"))
        if found:
            return int(found[1])
        time.sleep(0.05)
    raise Refusal(f"the service does not listen:\n{_end(log)}")


def _end(log: Path) -> str:
    return log.read_text(encoding="utf-8", errors="replace")[-2000:].strip()


def http(material: Material) -> Iterator[Row]:
    """One sentence in a request, at 32 connections that are kept: the routes beside one that answers a constant.

    The service has one processor and the load another, where there are two.
    """
    sentences, masked = material.usual_sentences, material.masked_sentences
    files = {
        "/v1/constant": material.write("sentences-asked.json", [{"text": text} for text in sentences]),
        "/v1/fill-mask": material.write("masked-asked.json", [{"text": text} for text in masked]),
    }
    measured: dict[str, list[Measured]] = {}
    with running(material, "scripts.bench.measured.constant_service", material.models, core=0) as service:
        for number in range(material.size.rounds):
            # The routes without a bar need not be asked as often.
            more = ("/v1/tokenize", "/v1/fill-mask") if number < 3 else ()
            for path in ("/v1/encode", "/v1/constant", *more):
                asked = (service.port, path, files.get(path, files["/v1/constant"]), CONNECTIONS, material.size.seconds)
                with on_core(1):
                    measured.setdefault(path, []).append(measure("serve", "load", *asked))
    constants = measured.pop("/v1/constant")
    for path, rounds in measured.items():
        yield _row(path, rounds, constants)


def _row(path: str, measured: list[Measured], constants: list[Measured]) -> Row:
    p50, p99 = (statistics.median(one.said[share] for one in measured) * 1e3 for share in ("p50", "p99"))
    busy = max(one.said["busy"] for one in [*measured, *constants])
    refused = sum(one.said["refused"] for one in measured)
    return Row(
        "http",
        f"{path.removeprefix('/v1/')}, one sentence, {CONNECTIONS} connections",
        UNIT,
        _rate(measured),
        _rate(constants),
        "a constant",
        Bar("≥", 0.5) if path == "/v1/encode" else None,
        False if refused else None,
        f"medians of {len(measured)} rounds; answered in {p50:.1f} ms (median), {p99:.1f} ms (99 %); the load took "
        f"{busy:.0%} of {'another core than the service' if cores() > 1 else 'the one core that is there'}, at most"
        + f"; {refused} answers were not 200"
        * bool(refused),
        {"rounds": [one.amount / one.wall for one in measured], "busy": busy, "p50_ms": p50, "p99_ms": p99},
    )


def _rate(measured: list[Measured]) -> float:
    return statistics.median(one.amount / one.wall for one in measured)


def events(log: Path, name: str) -> list[dict[str, Any]]:
    """The lines of a service's log that tell of an event, the first ten."""
    found: list[dict[str, Any]] = []
    with open(log, encoding="utf-8", errors="replace") as stream:
        for line in stream:
            if f'"event": "{name}"' in line and len(found) < 10:
                found.append(json.loads(line))
    return found
