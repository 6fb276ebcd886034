"""Processes of this machine that work on items.

They are forked, and end with this process, however it ends. When one is killed, half as many take over: the cause is
mostly a lack of memory.

Items and results are pickled into memory that all processes see. A pipe would copy them twice more, in pieces of
64 KiB: for a dump that took as long as cleaning it. And whoever reads what a killed process began to write to a pipe
waits for the rest without end.
"""

from __future__ import annotations

import mmap
import multiprocessing
import os
import pickle
import signal
import sys
import tempfile
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing import connection
from multiprocessing.process import BaseProcess
from typing import Any

from stages.command.refusal import Retryable

# A second item waits for each worker, which would be idle until this process has time for it.
ITEMS_A_JOB = 2
# An item is refused when it has ended so many workers that had nothing beside it.
TRIES_ALONE = 2
# More than most batches have; memory that is never touched costs nothing.
SLOT_BYTES = 1 << 22


class Slot:
    """The place of a value on its way to another process, forked later: memory, or a file for one that is too large."""

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, SLOT_BYTES)
        self._file = tempfile.TemporaryFile()

    def put(self, value: Any) -> None:
        self._memory.seek(0)
        try:
            pickle.dump(value, self._memory)
        except ValueError:
            os.lseek(self._file.fileno(), 0, os.SEEK_SET)  # Processes share the position.
            with open(self._file.fileno(), "wb", closefd=False) as stream:
                pickle.dump(value, stream)
            self._memory.seek(0)
            pickle.dump(Slot, self._memory)

    def take(self) -> Any:
        """The value that `put` was given. Frees the space of a large one."""
        value = pickle.loads(self._memory)
        if value is Slot:
            with mmap.mmap(self._file.fileno(), 0, access=mmap.ACCESS_READ) as content:
                value = pickle.loads(content)
            os.ftruncate(self._file.fileno(), 0)
        return value

    def close(self) -> None:
        self._file.close()


@dataclass(eq=False)
class Task:
    """An item under way, and the number of its slot. `ended`: workers that it ended alone."""

    item: Any
    slot: int
    future: Future[None]
    ended: int = 0

    def lost(self) -> bool:
        """Whether its worker was killed. Waits until it has ended."""
        return isinstance(self.future.exception(), BrokenProcessPool)


class Processes:
    """`jobs` processes that call `function`: a `WorkerPool`."""

    def __init__(self, function: Callable[[Any], Any], jobs: int, name: Callable[[Any], str]) -> None:
        self._function, self._jobs, self._name = function, jobs, name
        self._slots = [Slot() for _ in range(self.most())]
        self._free = list(range(self.most()))
        self._tasks: list[Task] = []
        self._pool = self._new_pool()

    def most(self) -> int:
        return ITEMS_A_JOB * self._jobs

    def begin(self, item: Any) -> Task:
        slot = self._free.pop()
        task = Task(item, slot, self._submit(item, slot))
        self._tasks.append(task)
        return task

    def end(self, task: Task) -> Any:
        while task.lost():
            self._begin_again(task)
        task.future.result()
        result = self._slots[task.slot].take()
        self._tasks.remove(task)
        self._free.append(task.slot)
        return result

    def __enter__(self) -> Processes:
        return self

    def __exit__(self, kind: Any, error: Any, traceback: Any) -> None:
        workers = multiprocessing.active_children()
        if kind is not None:
            # Nobody takes the results of their items, which may be whole files.
            _terminate(workers)
        watch = threading.Thread(target=_end_together, args=(workers,), daemon=True)
        watch.start()
        self._pool.shutdown(cancel_futures=True)
        watch.join()
        for slot in self._slots:
            slot.close()

    def _new_pool(self) -> ProcessPoolExecutor:
        # Forked, so that they see the slots; all of them at the first item, before this process has more threads.
        context = multiprocessing.get_context("fork")
        return ProcessPoolExecutor(self._jobs, context, initializer=_start, initargs=(self._function, self._slots))

    def _submit(self, item: Any, slot: int) -> Future[None]:
        """Submit an item. That may start the workers: signals wait meanwhile, so that none is left half started."""
        self._slots[slot].put(item)
        blocked = signal.pthread_sigmask(signal.SIG_BLOCK, _ENDING)
        try:
            return self._pool.submit(_call, slot)
        except BrokenProcessPool as error:
            lost: Future[None] = Future()
            lost.set_exception(error)
            return lost
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, blocked)

    def _begin_again(self, first: Task) -> None:
        """Start half as many processes for the items whose results were lost; `first` is the first of them."""
        # The pool has ended the other workers.
        self._pool.shutdown()
        if self._jobs == 1:
            # One worker takes the items in their order.
            first.ended += 1
            if first.ended == TRIES_ALONE:
                raise Retryable(
                    f"the worker at {self._name(first.item)} was killed {TRIES_ALONE} times, also with nothing beside "
                    "it, most likely for lack of memory; with more of it, the same command resumes"
                )
        self._jobs = max(1, self._jobs // 2)
        print(
            f"a worker was killed, most likely for lack of memory; trying {self._name(first.item)} and what follows "
            f"again with {self._jobs} job{'s' * (self._jobs > 1)}",
            file=sys.stderr,
        )
        self._pool = self._new_pool()
        for task in filter(Task.lost, self._tasks):
            task.future = self._submit(task.item, task.slot)


def _end_together(workers: Sequence[BaseProcess]) -> None:
    """End all workers, which are idle, when the first one has ended.

    All are told to end by a queue. One that is killed just then keeps the queue's lock, and the others would wait for
    it for ever, and this process for them.
    """
    if workers:
        connection.wait([worker.sentinel for worker in workers])
        _terminate(workers)


def _terminate(workers: Sequence[BaseProcess]) -> None:
    for worker in workers:
        worker.terminate()


_ENDING = {signal.SIGINT, signal.SIGTERM}
_function: Callable[[Any], Any]
_slots: list[Slot]


def _start(function: Callable[[Any], Any], slots: list[Slot]) -> None:
    """In a worker: keep the function, leave Ctrl-C to the parent, and end when the parent is gone."""
    global _function, _slots
    _function, _slots = function, slots
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _ENDING)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _call(slot: int) -> None:
    _slots[slot].put(_function(_slots[slot].take()))
