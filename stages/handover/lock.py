"""A folder → its one writer: `.lock`, held until the run is done or its process ends, however that comes.

On this machine it is a lock of the system, which ends with the process and the workers it has forked. In Cloud Storage
it is an object, which its owner replaces every RENEWED seconds; one that has not changed for LEASE seconds is of a
process that is gone, and is taken over. No clocks are compared. Runs on Python 3.7 too.
"""

import contextlib
import fcntl
import os
import signal
import sys
import threading
import time
from typing import IO, Dict, Optional, Union

from stages.command import running
from stages.command.refusal import Refusal, Retryable
from stages.handover import storage

NAME = ".lock"
# A worker whose parent was killed ends within this time, in seconds.
PATIENCE = 3.0
RENEWED = 5.0
LEASE = 20.0

_held: Dict[str, Union[IO[str], "_Lease"]] = {}


def hold(folder: str) -> None:
    """Lock a folder for this process, until `release`. Retryable, with its owner, where another process has it."""
    if folder not in _held:
        _held[folder] = _Lease(folder) if storage.remote(folder) else _lock(folder)


def release(folder: str) -> None:
    """Let others have it."""
    lock = _held.pop(folder, None)
    if isinstance(lock, _Lease):
        lock.end()
    elif lock is not None:
        with contextlib.suppress(FileNotFoundError):
            os.remove(os.path.join(folder, NAME))
        lock.close()


def lost() -> Optional[Retryable]:
    """Why this process was ended by its own hand: a folder that it had locked is another's."""
    taken = [folder for folder, lock in _held.items() if isinstance(lock, _Lease) and lock.lost]
    if not taken:
        return None
    return Retryable(
        "%s was taken over by another process while Cloud Storage did not answer this one; wait for its end" % taken[0]
    )


def release_all() -> None:
    """Let others have every folder that this process has locked."""
    for folder in list(_held):
        release(folder)


running.interrupt_hooks.append(lost)
running.exit_hooks.append(release_all)


def _owner() -> str:
    return "process %d on %s" % (os.getpid(), os.uname().nodename)


def _taken(folder: str, owner: str) -> Retryable:
    return Retryable("%s is being written by %s; wait for its end" % (folder, owner or "another process"))


def _lock(folder: str) -> IO[str]:
    path = os.path.join(folder, NAME)
    given_up = time.monotonic() + PATIENCE
    while True:
        stream = open(path, "a+", encoding="utf-8")
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            stream.seek(0)
            owner = stream.readline().strip()
            stream.close()
            if time.monotonic() > given_up:
                raise _taken(folder, owner)
            time.sleep(0.1)
            continue
        with contextlib.suppress(FileNotFoundError):
            # The file that was locked may have been removed by its owner meanwhile.
            if os.path.samestat(os.fstat(stream.fileno()), os.stat(path)):
                break
        stream.close()
    stream.truncate(0)
    stream.write(_owner() + "\n")
    stream.flush()
    return stream


class _Lease:
    """The lock object of a folder in Cloud Storage, renewed by a thread while this process lives."""

    def __init__(self, folder: str) -> None:
        from stages.handover import cloud_storage

        self._storage = cloud_storage
        self._path = storage.join(folder, NAME)
        self._process = os.getpid()
        # Another process, and each renewal, has other bytes.
        self._data = "%s\n%s\n" % (_owner(), os.urandom(8).hex())
        generation = cloud_storage.create(self._path, self._data.encode(), 0)
        if generation is None:
            generation = self._take_over(folder)
        self._generation: int = generation
        self.lost = False
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._renew, daemon=True)
        self._thread.start()

    def _take_over(self, folder: str) -> int:
        """Watch the other one's object for a lease: it is ours when nobody has renewed it."""
        before = self._storage.look_at(self._path)
        owner = self._owner_there()
        print(
            "%s is locked by %s; waiting up to %d s for a sign of it" % (folder, owner or "another process", LEASE),
            file=sys.stderr,
        )
        given_up = time.monotonic() + LEASE
        while before is not None and time.monotonic() < given_up:
            time.sleep(min(1.0, LEASE / 10))
            now = self._storage.look_at(self._path)
            if now is not None and now.generation != before.generation:
                # A renewal just before may have kept the owner from being read.
                raise _taken(folder, owner or self._owner_there())
            before = now
        made = self._storage.create(self._path, self._data.encode(), before.generation if before else 0)
        if made is None:
            raise _taken(folder, owner)
        return int(made)

    def _owner_there(self) -> str:
        return self._storage.read_small(self._path).decode("utf-8", "replace").partition("\n")[0]

    def _renew(self) -> None:
        number = 0
        while not self._ended.wait(RENEWED):
            number += 1
            # What fails now is tried again next time; a process that took the folder meanwhile keeps it.
            with contextlib.suppress(Refusal, OSError):
                data = b"%s%d\n" % (self._data.encode(), number)
                made = self._storage.create(self._path, data, self._generation, patience=RENEWED)
                if made is None:
                    made = self._own_generation()
                self._generation = made

    def _own_generation(self) -> int:
        """The generation of an earlier renewal that went unheard. Where the object is another's, this process ends."""
        there = self._storage.look_at(self._path)
        data = b""
        if there is not None:
            with storage.reading(self._path) as stream:
                data = stream.read()
        if there is None or not data.startswith(self._data.encode()):
            self.lost = True
            self._ended.set()
            os.kill(self._process, signal.SIGTERM)
            return self._generation
        return int(there.generation)

    def end(self) -> None:
        # A forked worker has a copy of this, but not the thread, and not the lock.
        if self._process == os.getpid():
            self._ended.set()
            self._thread.join(RENEWED)
            # One that cannot be removed ends by itself.
            with contextlib.suppress(Refusal, OSError):
                if not self.lost:
                    self._storage.remove(self._path, self._generation, patience=RENEWED)
