"""The machines of a Ray cluster that work on items, reached at RAY_ADDRESS: ray://HOST:10001.

This process is a Ray client. It could also join the cluster as a node without processors: that takes shared memory,
four more processes (280 MB) and connections from every machine to this one, and Ray ends such a driver when the head
is lost. A client has one connection, to the head, through which it is told.

A worker or machine that dies costs what it was at, which others get. All machines have the folders at the same paths,
or they are in Cloud Storage: what an item writes goes there, and only what its function returns comes here. Ray pickles
what its own processes say to each other, and nothing from outside: who reaches the ports of a cluster can run code on
it, so they belong in a network of their own, and want the cluster's token (RAY_AUTH_MODE=token).
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

# Enough for machines to be added while there is more to do than they can, and for one to be lost without idle ones.
ITEMS_A_CPU = 4
# Workers that an item may end before it is named: machines of a cluster come and go through no fault of its own.
TRIES = 5
# How often to try a head that answers and then cannot make a place for this client.
CONNECTED = 3
# Seconds after which the cluster is asked again how large it is.
LOOKED = 5.0
# Seconds in which a head answers, if there is one.
ANSWERED = 10.0
# What decides the bytes of a result besides the code of the stages and the version of Python, which Ray compares.
PACKAGES = ("isal", "numpy", "tinysegmenter3", "zlib-ng")


class Task(NamedTuple):
    """An item under way."""

    item: Any
    result: Any


class Work(NamedTuple):
    """What a worker gets once: the function, where paths begin, and what it must have for the same bytes."""

    function: Callable[[Any], Any]
    folder: str
    ingredients: tuple[tuple[str, str], ...]


class Failed(NamedTuple):
    """What a function raised that is for a person, not for a programmer."""

    error: Exception


class Cluster:
    """All CPUs of the cluster at RAY_ADDRESS; a `Crew` of `stages.engine`."""

    def __init__(self, function: Callable[[Any], Any], name: Callable[[Any], str]) -> None:
        self._function, self._name = function, name
        self._address = os.environ.get("RAY_ADDRESS", "")
        self._cpus, self._looked = 0, 0.0

    def most(self) -> int:
        self._look()
        return ITEMS_A_CPU * max(self._cpus, 1)

    def begin(self, item: Any) -> Task:
        with self._telling_of_its_end():
            return Task(item, self._call.remote(self._work, item))

    def end(self, task: Task) -> Any:
        from ray import exceptions

        lost = (
            exceptions.WorkerCrashedError,
            exceptions.OutOfMemoryError,
            exceptions.NodeDiedError,
            exceptions.ObjectLostError,
        )
        with self._telling_of_its_end():
            try:
                while not self._ray.wait([task.result], timeout=LOOKED)[0]:
                    self._look()
                result = self._ray.get(task.result)
            except lost:
                raise Retryable(
                    f"the workers at {self._name(task.item)} were lost {TRIES} times, most likely for lack of memory; "
                    "with more of it on each machine, the same command resumes"
                )
        if isinstance(result, Failed):
            raise result.error
        return result

    def __enter__(self) -> Cluster:
        address = re.fullmatch(r"ray://([^:/]+):(\d+)", self._address)
        if not address:
            said = f"RAY_ADDRESS is {self._address}" if self._address else "RAY_ADDRESS is not set"
            raise Refusal(f"{said}; --engine ray takes the address of a cluster's head, such as ray://HOST:10001")
        try:
            socket.create_connection((address[1], int(address[2])), ANSWERED).close()
        except OSError as error:
            raise self._unanswered(error)
        self._connect()
        try:
            with self._telling_of_its_end():
                try:
                    self._work = self._ray.put(Work(self._function, os.getcwd(), ingredients()))
                except ModuleNotFoundError as error:
                    raise Refusal(f"the head of the cluster has not the code of this driver ({error}); use one image")
                self._call = self._ray.remote(num_cpus=1, max_retries=TRIES - 1)(call)
            self._look()
            if not self._cpus:
                print(f"the cluster at {self._address} has no worker yet; waiting for one", file=sys.stderr)
        except BaseException:
            self._disconnect()
            raise
        return self

    def __exit__(self, kind: Any, error: Any, at: Any) -> None:
        # With this connection ends whatever its items are at.
        self._disconnect()

    def _connect(self) -> None:
        # Nothing is sent to anybody but the cluster, and nothing said in this process's name.
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
            self._introduce()
        except (ConnectionError, ValueError) as error:
            # One that gets another token than its own says nothing at all.
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
            # Ray takes it for itself, and would leave without a word.
            signal.signal(signal.SIGTERM, terminated)

    def _unanswered(self, error: Exception) -> Retryable:
        told = f"no cluster answers at {self._address} ({_last_line(error)})"
        return Retryable(f"{told}; once its head is up, the same command resumes")

    def _introduce(self) -> None:
        """Connect to the head. One that has just started may fail at the first client."""
        for attempt in range(CONNECTED):
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    self._ray.init(self._address, log_to_driver=False)
                return
            except ConnectionAbortedError:
                self._disconnect()
                if attempt == CONNECTED - 1:
                    raise

    def _disconnect(self) -> None:
        with contextlib.suppress(Exception):
            self._ray.shutdown()

    def _look(self) -> None:
        """Ask how large the cluster is, and say so when it has become smaller."""
        if time.monotonic() - self._looked < LOOKED:
            return
        with self._telling_of_its_end():
            cpus = int(self._ray.cluster_resources().get("CPU", 0))
        if cpus < self._cpus:
            lost = f"the cluster has lost {self._cpus - cpus} of {self._cpus} CPUs"
            print(f"{lost}; others try again what was under way there", file=sys.stderr)
        self._cpus, self._looked = cpus, time.monotonic()

    @contextlib.contextmanager
    def _telling_of_its_end(self) -> Iterator[None]:
        import grpc

        try:
            yield
        except (ConnectionError, grpc.RpcError):
            raise Retryable(
                f"the head of the cluster at {self._address} was lost; once it is up again, the same command resumes "
                "from what is written"
            )


def _last_line(error: BaseException) -> str:
    """What an error says at its end, as a part of a line."""
    return (str(error).strip() or type(error).__name__).splitlines()[-1].rstrip(".")


def call(work: Work, item: Any) -> Any:
    """In a worker: the function's result, or what it raised for a person."""
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
    return _version(name) if name in PACKAGES else _source(name)


def _source(module: str) -> str:
    """The hash of a module and of the C sources and headers beside it."""
    try:
        spec = importlib.util.find_spec(module)
    except ImportError:
        return "none"
    if spec is None or spec.origin is None:
        return "none"
    origin = Path(spec.origin)
    paths = [origin, *sorted(origin.parent.glob("*.[ch]"))]
    return hashlib.sha256(b"".join(path.read_bytes() for path in paths)).hexdigest()


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "none"


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
