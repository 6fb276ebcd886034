"""The exclusive lock of a folder: `.lock`, held until the run is done or its process ends.

A local lock is a lock of the system, which ends with the process and its forked workers. In Cloud Storage the lock is
an object that its owner replaces every RENEWED seconds. If it has not changed for LEASE seconds, its process has ended
and another process takes it over. No clocks are compared. Python 3.7 or later.
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
from stages.handover.storage import cloud_storage

NAME = ".lock"
# Seconds in which a worker ends after its parent was killed.
PATIENCE = 3.0
RENEWED = 5.0
LEASE = 20.0

_held: Dict[str, Union[IO[str], "_Lease"]] = {}


def hold(folder: str) -> None:
    """Lock a folder for this process, until `release`. Retryable, with the owner, if another process has it."""
    if folder not in _held:
        _held[folder] = _Lease(folder) if storage.remote(folder) else _lock_file(folder)


def release(folder: str) -> None:
    """Unlock a folder."""
    lock = _held.pop(folder, None)
    if isinstance(lock, _Lease):
        lock.end()
    elif lock is not None:
        with contextlib.suppress(FileNotFoundError):
            os.remove(os.path.join(folder, NAME))
        lock.close()


def lost() -> Optional[Retryable]:
    """The refusal if another process has taken over a folder of this one, which then interrupts itself; else None."""
    for folder, lock in _held.items():
        if isinstance(lock, _Lease) and lock.lost:
            reason = "while Cloud Storage did not answer this one"
            return Retryable("%s was taken over by another process %s; wait for its end" % (folder, reason))
    return None


def release_all() -> None:
    """Unlock every folder of this process."""
    for folder in list(_held):
        release(folder)


running.interrupt_hooks.append(lost)
running.exit_hooks.append(release_all)


def _owner() -> str:
    return "process %d on %s" % (os.getpid(), os.uname().nodename)


def _locked(folder: str, owner: str) -> Retryable:
    return Retryable("%s is being written by %s; wait for its end" % (folder, owner or "another process"))


def _lock_file(folder: str) -> IO[str]:
    path = os.path.join(folder, NAME)
    deadline = time.monotonic() + PATIENCE
    while True:
        stream = open(path, "a+", encoding="utf-8")
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            stream.seek(0)
            owner = stream.readline().strip()
            stream.close()
            if time.monotonic() > deadline:
                raise _locked(folder, owner)
            time.sleep(0.1)
            continue
        with contextlib.suppress(FileNotFoundError):
            # Its owner may have removed the locked file meanwhile.
            if os.path.samestat(os.fstat(stream.fileno()), os.stat(path)):
                break
        stream.close()
    stream.truncate(0)
    stream.write(_owner() + "\n")
    stream.flush()
    return stream


class _Lease:
    """The lock object of a folder in Cloud Storage. A thread renews it while this process runs."""

    def __init__(self, folder: str) -> None:
        self._path = storage.join(folder, NAME)
        self._process = os.getpid()
        # Unique bytes of this process; each renewal adds a number.
        self._data = ("%s\n%s\n" % (_owner(), os.urandom(8).hex())).encode()
        generation = cloud_storage.create(self._path, self._data, 0)
        self._generation = self._take_over(folder) if generation is None else generation
        self.lost = False
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._renew, daemon=True)
        self._thread.start()

    def _take_over(self, folder: str) -> int:
        """Take over the lock if its owner does not renew it within LEASE seconds. Returns the new generation."""
        before = cloud_storage.find(self._path)
        owner = self._read_owner()
        wait = "waiting up to %d s for its renewal" % LEASE
        print("%s is locked by %s; %s" % (folder, owner or "another process", wait), file=sys.stderr)
        deadline = time.monotonic() + LEASE
        while before and time.monotonic() < deadline:
            time.sleep(min(1.0, LEASE / 10))
            now = cloud_storage.find(self._path)
            if now and now.generation != before.generation:
                # A concurrent renewal may have prevented the first read of the owner.
                raise _locked(folder, owner or self._read_owner())
            before = now
        generation = cloud_storage.create(self._path, self._data, before.generation if before else 0)
        if generation is None:
            raise _locked(folder, owner)
        return generation

    def _read_owner(self) -> str:
        """The owner in the lock object; empty if it is gone or was replaced meanwhile."""
        with contextlib.suppress(FileNotFoundError, Retryable), cloud_storage.Reader(self._path) as reader:
            return reader.readall().decode("utf-8", "replace").partition("\n")[0]
        return ""

    def _renew(self) -> None:
        number = 0
        while not self._ended.wait(RENEWED):
            number += 1
            # The next renewal repeats a failed one, unless another process has taken over the folder.
            with contextlib.suppress(Refusal, OSError):
                data = b"%s%d\n" % (self._data, number)
                generation = cloud_storage.create(self._path, data, self._generation, patience=RENEWED)
                self._generation = self._own_generation() if generation is None else generation

    def _own_generation(self) -> int:
        """The generation of an earlier renewal with a lost reply. Ends this process if the object is another's."""
        with contextlib.suppress(FileNotFoundError), cloud_storage.Reader(self._path) as reader:
            if reader.readall().startswith(self._data):
                return reader.stored.generation
        self.lost = True
        self._ended.set()
        os.kill(self._process, signal.SIGTERM)
        return self._generation

    def end(self) -> None:
        """Remove the lock object; one that cannot be removed expires."""
        # A forked worker has a copy of this object, but not the thread and not the lock.
        if self._process == os.getpid():
            self._ended.set()
            self._thread.join(RENEWED)
            with contextlib.suppress(Refusal, OSError):
                if not self.lost:
                    cloud_storage.remove(self._path, self._generation, patience=RENEWED)
