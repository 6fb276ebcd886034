"""Stretches of a program → their CPU and wall time in seconds, and the program's report."""

from __future__ import annotations

import json
import time
from typing import Any


class Stopwatch:
    """`with watch: …` adds the time of its body; all threads of this process count as CPU time."""

    def __init__(self) -> None:
        self.cpu = self.wall = 0.0

    def __enter__(self) -> None:
        self._start = time.process_time(), time.perf_counter()

    def __exit__(self, *error: object) -> None:
        self.cpu += time.process_time() - self._start[0]
        self.wall += time.perf_counter() - self._start[1]

    def report(self, amount: int, **more: Any) -> None:
        """Print the amount, the times and more as JSON."""
        print(json.dumps({"amount": amount, "cpu": self.cpu, "wall": self.wall, **more}), flush=True)


def shares(seconds: list[float]) -> dict[str, float]:
    """Median, 99th percentile and the longest."""
    ordered = sorted(seconds)
    count = len(ordered)
    return {"requests": count, "p50": ordered[count // 2], "p99": ordered[count * 99 // 100], "longest": ordered[-1]}
