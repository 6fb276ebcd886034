"""A folder of models → an HTTP service with a page: tokens, ids, texts, filled masks.

After SIGTERM the service answers the accepted requests, then ends. It needs no network of its own, and runs no code of
the model folders.
"""

from __future__ import annotations

import contextlib
import ctypes
import logging
import socket
import sys
from types import FrameType

import uvicorn

from stages.command.options import parse
from stages.command.refusal import Refusal
from stages.command.running import run
from stages.serve.app import application
from stages.serve.gate import Gate, LogLines, log
from stages.serve.models import read_models
from stages.serve.options import Options
from stages.words.reading import resolve_folder

# Connections that may wait to be accepted.
BACKLOG = 2048


class Server(uvicorn.Server):
    """uvicorn's server. `/readyz` reports the end before it begins."""

    def __init__(self, gate: Gate, timeout: float) -> None:
        super().__init__(
            uvicorn.Config(
                gate, lifespan="off", loop="uvloop", http="httptools", ws="none", log_config=None, access_log=False,
                server_header=False, timeout_graceful_shutdown=int(timeout) + 1, backlog=BACKLOG,
            )
        )  # fmt: skip
        self._state = gate.app.state

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self._state.ready = False
        super().handle_exit(sig, frame)


def main(arguments: list[str]) -> None:
    """Answer requests until SIGTERM or SIGINT. Refuses a port that is not available, and unreadable models."""
    options = parse(Options, "serve", __doc__, arguments)
    _limit_malloc()
    models = read_models(resolve_folder(options.models), options.threads)
    default = options.default or next(iter(models))
    if default not in models:
        raise Refusal(f"--default is {default}; the models below {options.models} are {', '.join(models)}")
    gate = application(models, default, options)
    logging.basicConfig(level=logging.WARNING, handlers=[LogLines()])
    listener = _listen(options.host, options.port)
    host, port = listener.getsockname()[:2]
    host = "localhost" if host in ("0.0.0.0", "::") else f"[{host}]" if ":" in host else host
    log("listening", address=f"http://{host}:{port}", models=list(models), default=default)
    answer(gate, listener, options.timeout)
    log("ended")


def answer(gate: Gate, listener: socket.socket, timeout: float) -> None:
    """Answer requests on a socket until SIGTERM or SIGINT, then the accepted requests."""
    # After the last answer, uvicorn raises the signal again.
    with contextlib.suppress(KeyboardInterrupt):
        Server(gate, timeout).run([listener])


def _limit_malloc() -> None:
    """Make glibc return large blocks to the system immediately, and share small blocks between threads.

    By default glibc keeps freed blocks of up to 32 MB, separately for each thread: at full load a service took 690 MB
    instead of 350.
    """
    arenas, mmap_threshold = -8, -3  # M_ARENA_MAX and M_MMAP_THRESHOLD of malloc.h
    with contextlib.suppress(OSError, AttributeError):  # not glibc
        libc = ctypes.CDLL(None)
        libc.mallopt(arenas, 2)
        libc.mallopt(mmap_threshold, 1 << 18)


def _listen(host: str, port: int) -> socket.socket:
    try:
        family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(BACKLOG)
    except OSError as error:
        raise Refusal(f"cannot listen on {host} port {port}: {error.strerror}; choose others with --host and --port")
    return listener


if __name__ == "__main__":
    sys.exit(run("serve", main, resumes=False))
