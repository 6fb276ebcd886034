"""Stretches of a program → their CPU and wall time in seconds, and the program's report. Runs on Python 3.7 as well."""

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

    def times(self, amount: int) -> dict[str, Any]:
        """The amount and its times."""
        return {"amount": amount, "cpu": self.cpu, "wall": self.wall}

    def report(self, amount: int, **more: Any) -> None:
        """Print the amount, the times and more as JSON."""
        print(json.dumps({**self.times(amount), **more}), flush=True)
