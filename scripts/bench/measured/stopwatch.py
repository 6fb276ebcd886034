"""Stretches of a program → their CPU and wall time in seconds."""

from __future__ import annotations

import time
from types import TracebackType


class Stopwatch:
    """`with watch: …` adds the time of its body; all threads of this process count as CPU time."""

    def __init__(self) -> None:
        self.cpu = self.wall = 0.0

    def __enter__(self) -> None:
        self._start = time.process_time(), time.perf_counter()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.cpu += time.process_time() - self._start[0]
        self.wall += time.perf_counter() - self._start[1]
