"""A stage's ``main`` → its exit code, with every end told in one line. Runs on Python 3.7 as well."""

import os
import signal
import sys
from typing import Any, Callable, List, Optional

from stages.command.refusal import Refusal, Retryable

# What may have interrupted the process from inside, and what is done at its end: handover.lock's.
causes: List[Callable[[], Optional[Refusal]]] = []
endings: List[Callable[[], None]] = []


class _Errors:
    """Standard error that loses what is written once its reader has gone, so that the work is done all the same."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        return int(self._kept(self._stream.write, text))

    def flush(self) -> None:
        self._kept(self._stream.flush)

    def _kept(self, function: Callable[..., Any], *arguments: Any) -> Any:
        try:
            return function(*arguments)
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), self._stream.fileno())
            return function(*arguments)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def run(
    stage: str, main: Callable[[List[str]], None], arguments: Optional[List[str]] = None, resumes: bool = True
) -> int:
    """Call ``main`` with the command line and turn its end into an exit code.

    0: done. 2: usage or bad input (a ``Refusal``, told in one line). 75: ``Retryable`` or no memory, told likewise.
    130/143: interrupted by SIGINT/SIGTERM, told in one line (``resumes``: the same command resumes from
    there). Anything else is a bug and keeps its traceback.
    """

    def terminated(signum: int, frame: Any) -> None:
        raise KeyboardInterrupt(signum)

    signal.signal(signal.SIGTERM, terminated)
    errors = sys.stderr
    sys.stderr = _Errors(errors)
    try:
        main(sys.argv[1:] if arguments is None else arguments)
        sys.stdout.flush()
    except Refusal as refusal:
        print("%s: error: %s" % (stage, refusal), file=sys.stderr)
        return refusal.code
    except KeyboardInterrupt as interrupt:
        for found in filter(None, [cause() for cause in causes]):
            print("%s: error: %s" % (stage, found), file=sys.stderr)
            return found.code
        signum = interrupt.args[0] if interrupt.args else signal.SIGINT
        print("%s: interrupted%s" % (stage, resumes * "; the same command resumes"), file=sys.stderr)
        return 128 + int(signum)
    except MemoryError:
        print("%s: error: not enough memory; with more of it, the same command resumes" % stage, file=sys.stderr)
        return Retryable.code
    except BrokenPipeError:
        # The reader of our standard output has gone: nothing is left to say, and nothing to say it to.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    finally:
        sys.stderr = errors
        for end in endings:
            end()
    return 0
