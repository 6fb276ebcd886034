"""The progress of a long job, in one line. Python 3.7 or later."""

import sys
import time
from typing import Optional


class Progress:
    """Prints the amount done, the rate and the time left to standard error.

    A terminal shows one line that is rewritten; elsewhere a line is printed every ten seconds. With ``total`` None,
    only amount and rate are shown.
    """

    def __init__(self, stage: str, unit: str, total: Optional[float] = None) -> None:
        self.stage, self.unit, self.total = stage, unit, total
        self.done = 0.0
        self.start = self.last = time.monotonic()
        self.terminal = sys.stderr.isatty()
        self.every = 0.2 if self.terminal else 10.0

    def add(self, amount: float, note: str = "") -> None:
        """Count ``amount`` more units. ``note`` is shown after the figures."""
        self.done += amount
        now = time.monotonic()
        if now - self.last >= self.every:
            self.last = now
            self._show(note)

    def close(self, note: str = "") -> None:
        """Print the last line: the total amount and time."""
        self._show(note, final=True)

    def _show(self, note: str, final: bool = False) -> None:
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
        line = "\r%s\x1b[K" % line if self.terminal else line
        print(line, end="" if self.terminal and not final else "\n", file=sys.stderr, flush=True)


def _amount(value: float) -> str:
    """A number below 10 has a decimal unless it is whole."""
    return format(value, ",.1f" if value < 10 and value != int(value) else ",.0f")


def duration(seconds: float) -> str:
    """Seconds in words: ``0.4 s``, ``42 s``, ``3 min 05 s``, ``2 h 07 min``."""
    if seconds < 10:
        return "%.1f s" % seconds
    if seconds < 60:
        return "%d s" % seconds
    if seconds < 3600:
        return "%d min %02d s" % divmod(int(seconds), 60)
    return "%d h %02d min" % divmod(int(seconds) // 60, 60)
