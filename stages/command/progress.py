"""How far a long job is: amount, rate, time left, in one line. Runs on Python 3.7 as well."""

import sys
import time
from typing import Optional


class Progress:
    """How far a long job is, on standard error: done, rate, time left.

    On a terminal one line is rewritten; elsewhere a plain line appears every ten seconds. ``total`` may
    be unknown (None): then only count and rate are shown.
    """

    def __init__(self, stage: str, unit: str, total: Optional[float] = None) -> None:
        self.stage, self.unit, self.total = stage, unit, total
        self.done = 0.0
        self.start = self.last = time.monotonic()
        self.terminal = sys.stderr.isatty()
        self.every = 0.2 if self.terminal else 10.0

    def add(self, amount: float, note: str = "") -> None:
        """``amount`` more units are done; ``note`` is shown behind the figures."""
        self.done += amount
        now = time.monotonic()
        if now - self.last >= self.every:
            self.last = now
            self._show(note, "\r" if self.terminal else "")

    def close(self, note: str = "") -> None:
        """The last line: everything that was done, in how long."""
        self._show(note, "\r" if self.terminal else "", final=True)

    def _show(self, note: str, start: str, final: bool = False) -> None:
        elapsed = max(time.monotonic() - self.start, 1e-9)
        rate = self.done / elapsed
        line = "%s: %s" % (self.stage, _amount(self.done))
        if self.total and not final:
            line += " of %s (%d %%)" % (_amount(self.total), 100 * self.done / self.total)
        line += " %s, %s/s" % (self.unit, format(rate, ",.0f" if rate >= 10 else ",.1f"))
        if final:
            line += ", in %s" % duration(elapsed)
        elif self.total and rate:
            line += ", %s left" % duration(max(self.total - self.done, 0) / rate)
        if note:
            line += ", " + note
        clear = "\x1b[K" if self.terminal else ""
        print(start + line + clear, end="" if self.terminal and not final else "\n", file=sys.stderr, flush=True)


def _amount(value: float) -> str:
    """Whole numbers as they are, a small fraction with a decimal."""
    return format(value, ",.1f" if value < 10 and value != int(value) else ",.0f")


def duration(seconds: float) -> str:
    """Seconds as a person says them: ``0.4 s``, ``42 s``, ``3 min 05 s``, ``2 h 07 min``."""
    if seconds < 10:
        return "%.1f s" % seconds
    if seconds < 60:
        return "%d s" % seconds
    if seconds < 3600:
        return "%d min %02d s" % divmod(int(seconds), 60)
    return "%d h %02d min" % divmod(int(seconds) // 60, 60)
