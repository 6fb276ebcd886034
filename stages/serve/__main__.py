"""A folder of models → an HTTP service with a page: tokens, ids, texts, filled masks.

Told to end, it first answers what it has accepted. Needs no network of its own, and runs no code of the model folders.
"""

from __future__ import annotations

import contextlib
import ctypes
import logging
import os
import socket
import sys
from types import FrameType

import uvicorn
from starlette.datastructures import State

from stages.command.options import parse
from stages.command.refusal import Refusal
from stages.command.running import run
from stages.serve.app import application
from stages.serve.contract import Limits
from stages.serve.gate import Gate, LogLines, log
from stages.serve.models import read_models
from stages.serve.options import Options
from stages.words.reading import located

# Connections that may wait to be taken up.
BACKLOG = 2048


class Server(uvicorn.Server):
    """uvicorn's, which first says on `/readyz` that it is about to end."""

    def __init__(self, config: uvicorn.Config, state: State) -> None:
        super().__init__(config)
        self._state = state

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self._state.ready = False
        super().handle_exit(sig, frame)


def main(arguments: list[str]) -> None:
    """Answer requests until SIGTERM or SIGINT. Refuses a port that cannot be had, and models that cannot be read."""
    options = parse(Options, "serve", __doc__, arguments)
    _return_memory()
    models = read_models(located(options.models), options.threads)
    default = options.default or next(iter(models))
    if default not in models:
        raise Refusal(f"--default is {default}; the models below {options.models} are {', '.join(models)}")
    limits = Limits(
        body=options.max_body, texts=options.max_texts, characters=options.max_characters, waiting=options.max_waiting,
        seconds=options.timeout,
    )  # fmt: skip
    gate, app = application(models, default, limits, threads=os.cpu_count() or 1, logs=not options.quiet)
    logging.basicConfig(level=logging.WARNING, handlers=[LogLines()])
    bound = _bound(options.host, options.port)
    host, port = bound.getsockname()[:2]
    host = "localhost" if host in ("0.0.0.0", "::") else host
    log(
        "listening",
        address=f"http://{f'[{host}]' if ':' in host else host}:{port}",
        models=list(models),
        default=default,
    )
    answer(gate, app.state, bound, limits)
    log("ended")


def answer(gate: Gate, state: State, bound: socket.socket, limits: Limits) -> None:
    """Answer requests on a socket until SIGTERM or SIGINT, and then what was accepted."""
    config = uvicorn.Config(
        gate, lifespan="off", loop="uvloop", http="httptools", log_config=None, access_log=False, server_header=False,
        timeout_graceful_shutdown=int(limits.seconds) + 1, backlog=BACKLOG,
    )  # fmt: skip
    # Once all is answered, uvicorn raises the signal again that told it to end.
    with contextlib.suppress(KeyboardInterrupt):
        Server(config, state).run([bound])


def _return_memory() -> None:
    """Have glibc give large blocks back to the system immediately, and keep the small ones of all threads together.

    By itself it keeps blocks of up to 32 MB once such have been freed, and for each thread apart: at full load a
    service took 690 MB in place of 350.
    """
    arenas, mapped = -8, -3  # M_ARENA_MAX and M_MMAP_THRESHOLD of malloc.h
    with contextlib.suppress(OSError, AttributeError):  # Another C library has its own ways.
        system = ctypes.CDLL(None)
        system.mallopt(arenas, 2)
        system.mallopt(mapped, 1 << 18)


def _bound(host: str, port: int) -> socket.socket:
    try:
        kind = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        bound = socket.socket(kind[0], kind[1])
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(kind[4])
        bound.listen(BACKLOG)
    except OSError as error:
        raise Refusal(f"cannot listen on {host} port {port}: {error.strerror}; --host and --port name another place")
    return bound


if __name__ == "__main__":
    sys.exit(run("serve", main, resumes=False))
