"""Stops a stage's main process, or its workers, as soon as a file matches a pattern.

Python runs this before the stage's own command. A process stops, as by SIGSTOP from outside, at its next audit
event of a file.
"""

import glob
import os
import signal
import sys


def _stop(pattern: str, main: bool) -> None:
    first, waiting = os.getpid(), [pattern]

    def hook(event: str, arguments: object) -> None:
        # Workers are forked, and have this hook too.
        if waiting and event.startswith(("open", "os.")) and (os.getpid() == first) == main:
            pattern = waiting.pop()  # Looking for files is an event as well.
            if glob.glob(pattern, recursive=True, include_hidden=True):
                os.kill(os.getpid(), signal.SIGSTOP)
            else:
                waiting.append(pattern)

    sys.addaudithook(hook)


# `scripts/run.py`, from which make starts a stage, is Python, too.
if any(word.startswith("stages.") for word in getattr(sys, "orig_argv", [])):
    for side in ("MAIN", "WORKERS"):
        if side + "_STOPS_AT" in os.environ:
            _stop(os.environ[side + "_STOPS_AT"], side == "MAIN")
