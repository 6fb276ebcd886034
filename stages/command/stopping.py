"""SIGTERM and SIGINT → a checkpoint at the next step while a model trains, an immediate end everywhere else."""

import contextlib
import os
import signal
import sys
import threading
from typing import Any, Iterator, Optional

SIGNALS = (signal.SIGTERM, signal.SIGINT)
# Python handles a signal only when the main thread returns from TensorFlow, which may take as long as a step. A process
# that must end immediately has this many seconds to clean up and end by itself.
GRACE = 3.0


class Stopped(Exception):
    """A signal stopped the run. OUT has the checkpoint of ``step``, from which the next run resumes."""

    def __init__(self, signum: int, step: int) -> None:
        super().__init__(signum, step)
        self.signum, self.step = signum, step


class Stop:
    """The signals of a run of ``stage``. ``watched`` handles them; ``training``: the run can save a checkpoint.

    The first signal while ``training`` only sets ``signum``. Any other signal raises ``KeyboardInterrupt(signum)``, as
    ``stages.command.running.run`` expects, and ends the process after GRACE seconds if it could not be raised.
    """

    def __init__(self, stage: str) -> None:
        self.stage = stage
        self.training = False
        self.signum: Optional[int] = None
        # The main thread sees signals that arrive while it computes as one; the watcher counts them.
        self._immediately = False
        self._ended = threading.Event()

    @contextlib.contextmanager
    def watched(self) -> Iterator[None]:
        """Handle signals in the body. Only for the main thread."""
        reading, writing = os.pipe()
        os.set_blocking(writing, False)
        before = {signum: signal.signal(signum, self._in_main_thread) for signum in SIGNALS}
        signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
        watcher = threading.Thread(target=self._watch, args=(reading,), daemon=True)
        watcher.start()
        try:
            yield
        finally:
            self._ended.set()
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
        """Read every signal as one byte, immediately, also while the main thread computes."""
        requested = False
        while True:
            byte = os.read(reading, 1)
            if not byte:
                return
            signum = byte[0]
            if self.training and not requested:
                requested = True
                name = signal.Signals(signum).name
                self._print("%s: stopping after this step, with a checkpoint; the next signal ends immediately" % name)
                continue
            self._immediately = True
            if self._ended.wait(GRACE):
                return
            self._print("interrupted; the same command resumes")
            os._exit(128 + signum)

    def _print(self, sentence: str) -> None:
        clear = "\r\x1b[K" if sys.stderr.isatty() else ""
        print("%s%s: %s" % (clear, self.stage, sentence), file=sys.stderr, flush=True)
