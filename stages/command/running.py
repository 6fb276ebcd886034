"""A stage's ``main`` → its exit code; every error is one line. Python 3.7 or later."""

import io
import os
import signal
import sys
from typing import Any, Callable, List, Optional

from stages.command.refusal import Refusal, Retryable

# Hooks of handover.lock. An interrupt hook returns the refusal behind an interrupt of this process by itself, or None.
interrupt_hooks: List[Callable[[], Optional[Refusal]]] = []
exit_hooks: List[Callable[[], None]] = []


class _StandardError:
    """Standard error that discards text once its reader has closed the pipe, so that the work continues."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        return int(self._without_reader(self._stream.write, text))

    def flush(self) -> None:
        self._without_reader(self._stream.flush)

    def _without_reader(self, function: Callable[..., Any], *arguments: Any) -> Any:
        try:
            return function(*arguments)
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), self._stream.fileno())
            return function(*arguments)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def _interrupt_of(error: Optional[BaseException]) -> Optional[KeyboardInterrupt]:
    """The interrupt itself, or the one that made C code fail: CPython then raises a SystemError from it."""
    while error is not None and not isinstance(error, KeyboardInterrupt):
        error = error.__cause__ or error.__context__
    return error


def run(
    stage: str, main: Callable[[List[str]], None], arguments: Optional[List[str]] = None, resumes: bool = True
) -> int:
    """Call ``main`` with the command line and turn its end into an exit code.

    0: done. 2: usage or bad input (``Refusal``). 75: ``Retryable``, or no memory. 130/143: interrupted by SIGINT or
    SIGTERM (``resumes``: the message says that the same command resumes). Each is one line. Another exception is a bug
    and keeps its traceback.
    """

    def terminated(signum: int, frame: Any) -> None:
        raise KeyboardInterrupt(signum)

    signal.signal(signal.SIGTERM, terminated)
    standard_error = sys.stderr
    if isinstance(standard_error, io.TextIOWrapper):
        # Python 3.7 writes to a file or a pipe in blocks: a killed run would lose its last lines.
        standard_error.reconfigure(line_buffering=True)
    sys.stderr = _StandardError(standard_error)
    try:
        main(sys.argv[1:] if arguments is None else arguments)
        sys.stdout.flush()
    except Refusal as refusal:
        print("%s: error: %s" % (stage, refusal), file=sys.stderr)
        return refusal.code
    except (KeyboardInterrupt, SystemError) as error:
        interrupt = _interrupt_of(error)
        if interrupt is None:
            raise
        for cause in filter(None, [hook() for hook in interrupt_hooks]):
            print("%s: error: %s" % (stage, cause), file=sys.stderr)
            return cause.code
        signum = interrupt.args[0] if interrupt.args else signal.SIGINT
        print("%s: interrupted%s" % (stage, resumes * "; the same command resumes"), file=sys.stderr)
        return 128 + int(signum)
    except MemoryError:
        print("%s: error: not enough memory; with more of it, the same command resumes" % stage, file=sys.stderr)
        return Retryable.code
    except BrokenPipeError:
        # The reader of standard output has closed the pipe.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    finally:
        sys.stderr = standard_error
        for hook in exit_hooks:
            hook()
    return 0
