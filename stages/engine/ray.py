"""The machines of a Ray cluster that work on items, reached at RAY_ADDRESS: ray://HOST:10001.

This process is a Ray client, with one connection, to the head. As a node without processors it would take shared
memory, four more processes (280 MB) and connections from every machine, and Ray ends such a driver when the head is
lost.

When a worker or machine dies, others get its items. All machines have the folders at the same paths, or they are in
Cloud Storage: the files of an item are written there, and only what the function returns comes here. Ray's processes
exchange pickles. So anyone who can reach the ports of a cluster can run code on it: they belong in a network of their
own, with the cluster's token (RAY_AUTH_MODE=token).
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import importlib.metadata
import importlib.util
import logging
import os
import platform
import re
import signal
import socket
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from stages.command.refusal import Refusal, Retryable

# Enough for machines that are added later, and for the others to stay busy when one is lost.
ITEMS_A_CPU = 4
# Workers that an item may end before it is named: machines of a cluster come and go through no fault of its own.
TRIES = 5
# Attempts to connect to a head that answers and then cannot make a place for this client, as when it has just started.
CONNECT_TRIES = 3
# Seconds after which the cluster is asked again how large it is; seconds in which a head answers, if there is one.
SIZE_SECONDS, ANSWER_SECONDS = 5.0, 10.0
# What decides the bytes of a result besides the code of the stages and the version of Python, which Ray compares.
PACKAGES = ("isal", "numpy", "tinysegmenter3", "zlib-ng")


class Work(NamedTuple):
    """What a worker gets once: the function, where paths begin, and what it must have for the same bytes."""

    function: Callable[[Any], Any]
    folder: str
    ingredients: tuple[tuple[str, str], ...]


class Failed(NamedTuple):
    """An error of the function that is for a person, not for a programmer."""

    error: Exception


class Cluster:
    """All CPUs of the cluster at RAY_ADDRESS: a `WorkerPool`."""

    def __init__(self, function: Callable[[Any], Any], name: Callable[[Any], str]) -> None:
        self._function, self._name = function, name
        self._address = os.environ.get("RAY_ADDRESS", "")
        self._cpus, self._asked = 0, 0.0

    def most(self) -> int:
        self._ask_size()
        return ITEMS_A_CPU * max(self._cpus, 1)

    def begin(self, item: Any) -> tuple[Any, Any]:
        """The item, and Ray's reference to its result."""
        with self._connected():
            return item, self._call.remote(self._work, item)

    def end(self, task: tuple[Any, Any]) -> Any:
        item, reference = task
        errors = self._ray.exceptions
        try:
            with self._connected():
                while not self._ray.wait([reference], timeout=SIZE_SECONDS)[0]:
                    self._ask_size()
                result = self._ray.get(reference)
        except (errors.WorkerCrashedError, errors.OutOfMemoryError, errors.NodeDiedError, errors.ObjectLostError):
            raise Retryable(
                f"the workers at {self._name(item)} were lost {TRIES} times, most likely for lack of memory; "
                "with more of it on each machine, the same command resumes"
            )
        if isinstance(result, Failed):
            raise result.error
        return result

    def __enter__(self) -> Cluster:
        address = re.fullmatch(r"ray://([^:/]+):(\d+)", self._address)
        if not address:
            setting = f"RAY_ADDRESS is {self._address}" if self._address else "RAY_ADDRESS is not set"
            raise Refusal(f"{setting}; --engine ray takes the address of a cluster's head, such as ray://HOST:10001")
        try:
            socket.create_connection((address[1], int(address[2])), ANSWER_SECONDS).close()
        except OSError as error:
            raise self._unanswered(error)
        self._connect()
        try:
            with self._connected():
                try:
                    self._work = self._ray.put(Work(self._function, os.getcwd(), ingredients()))
                except ModuleNotFoundError as error:
                    raise Refusal(f"the head of the cluster has not the code of this driver ({error}); use one image")
                self._call = self._ray.remote(num_cpus=1, max_retries=TRIES - 1)(call)
            self._ask_size()
            if not self._cpus:
                print(f"the cluster at {self._address} has no worker yet; waiting for one", file=sys.stderr)
        except BaseException:
            self._disconnect()
            raise
        return self

    def __exit__(self, kind: Any, error: Any, traceback: Any) -> None:
        # The items under way end with this connection.
        self._disconnect()

    def _connect(self) -> None:
        # Nothing is sent to anybody but the cluster, and Ray writes nothing to the terminal.
        os.environ.update(RAY_USAGE_STATS_ENABLED="0", GRPC_VERBOSITY="NONE")
        try:
            import ray
        except ImportError:
            raise Refusal("--engine ray needs the environment of a cluster: make ENGINE=ray takes it")
        self._ray = ray
        for name in ("ray", "ray.util.client.logsclient"):
            logs = logging.getLogger(name)
            logs.handlers, logs.propagate = [logging.NullHandler()], False
        terminated = signal.getsignal(signal.SIGTERM)
        try:
            for attempt in range(CONNECT_TRIES):
                try:
                    with warnings.catch_warnings():
                        warnings.simplefilter("ignore")
                        ray.init(self._address, log_to_driver=False)
                    return
                except ConnectionAbortedError:
                    self._disconnect()
                    if attempt == CONNECT_TRIES - 1:
                        raise
        except (ConnectionError, ValueError) as error:
            # A head that gets a wrong token does not say so.
            raise Retryable(
                f"the head at {self._address} takes no client ({_last_line(error)}); once it does, the same command "
                "resumes; RAY_AUTH_TOKEN, or the file at RAY_AUTH_TOKEN_PATH, must be the cluster's token"
            )
        except ray.exceptions.AuthenticationError:
            raise Refusal(f"the cluster at {self._address} wants its token: RAY_AUTH_TOKEN, or RAY_AUTH_TOKEN_PATH")
        except RuntimeError as error:
            if "ersion mismatch" not in str(error):
                raise self._unanswered(error)
            raise Refusal(
                f"the cluster at {self._address} has another version of Ray or Python than this driver's "
                f"Ray {ray.__version__}, Python {platform.python_version()}; use one image for both"
            )
        finally:
            # Ray takes this signal, and would end the process without a message.
            signal.signal(signal.SIGTERM, terminated)

    def _unanswered(self, error: Exception) -> Retryable:
        message = f"no cluster answers at {self._address} ({_last_line(error)})"
        return Retryable(f"{message}; once its head is up, the same command resumes")

    def _disconnect(self) -> None:
        with contextlib.suppress(Exception):
            self._ray.shutdown()

    def _ask_size(self) -> None:
        """Ask how large the cluster is, and say so when it has become smaller."""
        if time.monotonic() - self._asked < SIZE_SECONDS:
            return
        with self._connected():
            cpus = int(self._ray.cluster_resources().get("CPU", 0))
        if cpus < self._cpus:
            lost = f"the cluster has lost {self._cpus - cpus} of {self._cpus} CPUs"
            print(f"{lost}; others try again what was under way there", file=sys.stderr)
        self._cpus, self._asked = cpus, time.monotonic()

    @contextlib.contextmanager
    def _connected(self) -> Iterator[None]:
        """A block that needs the head. `Retryable` if the head is lost meanwhile."""
        import grpc

        try:
            yield
        except (ConnectionError, grpc.RpcError):
            raise Retryable(
                f"the head of the cluster at {self._address} was lost; once it is up again, the same command resumes "
                "from what is written"
            )


def _last_line(error: BaseException) -> str:
    """The last line of an error's text, without its full stop."""
    return (str(error).strip() or type(error).__name__).splitlines()[-1].rstrip(".")


def call(work: Work, item: Any) -> Any:
    """In a worker: the function's result, or the error that is for a person."""
    try:
        _refuse_others(work.ingredients, work.folder)
        return work.function(item)
    except (Refusal, OSError) as error:
        return Failed(error)


def ingredients() -> tuple[tuple[str, str], ...]:
    """What decides the bytes of results: the sources of the stages that this process has loaded, and packages."""
    names = sorted(name for name in sys.modules if name.startswith("stages."))
    return tuple((name, _identity(name)) for name in (*names, *PACKAGES))


def _identity(name: str) -> str:
    """The version of a package, or the hash of a module and of the C sources and headers beside it."""
    try:
        if name in PACKAGES:
            return importlib.metadata.version(name)
        spec = importlib.util.find_spec(name)
    except ImportError:
        return "none"
    if spec is None or spec.origin is None:
        return "none"
    origin = Path(spec.origin)
    paths = [origin, *sorted(origin.parent.glob("*.[ch]"))]
    return hashlib.sha256(b"".join(path.read_bytes() for path in paths)).hexdigest()


@functools.cache
def _refuse_others(expected: tuple[tuple[str, str], ...], folder: str) -> None:
    """`Refusal` where this worker would not make the driver's bytes, or not in the driver's folders."""
    machine = f"the cluster's machine {platform.node()}"
    for name, identity in expected:
        if _identity(name) != identity:
            raise Refusal(f"{machine} has another {name} than this driver; use one image for both")
    try:
        os.chdir(folder)
    except OSError as error:
        raise Refusal(
            f"{machine} cannot enter {folder} ({error.strerror}), where this driver is; use one image for both"
        )
