"""SIGTERM and SIGINT → a checkpoint at the next step while a model trains, an immediate end everywhere else."""

import contextlib
import os
import signal
import sys
import threading
from typing import Any, Iterator, Optional

SIGNALS = (signal.SIGTERM, signal.SIGINT)
# Python handles a signal when the main thread comes back from TensorFlow, which may take as long as a step does.
# A process that must end immediately has so many seconds to end by itself and tidy up.
GRACE = 3.0


class Stopped(Exception):
    """A run that was asked to stop, and did: OUT holds the checkpoint of ``step``, from which the next run resumes."""

    def __init__(self, signum: int, step: int) -> None:
        super().__init__(signum, step)
        self.signum, self.step = signum, step


class Stop:
    """What signals ask of a run of ``stage``. ``watched`` listens; ``training``: a checkpoint can be saved next.

    The first signal while ``training`` sets ``signum`` and no more. Any other one raises
    ``KeyboardInterrupt(signum)``, as ``stages.handover.run`` expects it, and ends the process after GRACE
    seconds where nobody could raise it.
    """

    def __init__(self, stage: str) -> None:
        self.stage = stage
        self.training = False
        self.signum: Optional[int] = None
        # The main thread sees the signals that come while it computes as one; the watcher counts them.
        self._immediately = False
        self._over = threading.Event()

    @contextlib.contextmanager
    def watched(self) -> Iterator[None]:
        """Signals are this object's to answer. In the main thread only."""
        reading, writing = os.pipe()
        os.set_blocking(writing, False)
        before = {signum: signal.signal(signum, self._in_main_thread) for signum in SIGNALS}
        signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
        watcher = threading.Thread(target=self._watch, args=(reading,), daemon=True)
        watcher.start()
        try:
            yield
        finally:
            self._over.set()
            signal.set_wakeup_fd(-1)
            for signum, handler in before.items():
                signal.signal(signum, handler)
            os.close(writing)
            watcher.join()
            os.close(reading)

    def _in_main_thread(self, signum: int, frame: Any) -> None:
        if self.training and self.signum is None and not self._immediately:
            self.signum = signum
            return
        raise KeyboardInterrupt(signum)

    def _watch(self, reading: int) -> None:
        """Every signal arrives here the moment it comes, as one byte, whatever the main thread is at."""
        asked = False
        while True:
            said = os.read(reading, 1)
            if not said:
                return
            signum = said[0]
            if self.training and not asked:
                asked = True
                name = signal.Signals(signum).name
                self._say("%s: stopping after this step, with a checkpoint; the next signal ends immediately" % name)
                continue
            self._immediately = True
            if self._over.wait(GRACE):
                return
            self._say("interrupted; the same command resumes")
            os._exit(128 + signum)

    def _say(self, sentence: str) -> None:
        clear = "\r\x1b[K" if sys.stderr.isatty() else ""
        print("%s%s: %s" % (clear, self.stage, sentence), file=sys.stderr, flush=True)
