"""Processes of this machine that work on items.

They are forked, get bytes through memory that they share with this process, and end with it, however it ends. When one
is killed, those left are replaced by half as many: what kills workers is mostly a lack of memory.
"""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import connection
from multiprocessing.process import BaseProcess
from typing import Any, NamedTuple

from stages.command.refusal import Retryable
from stages.engine.slots import Slot, Slots

# A worker that has no item waiting is idle until this process has time for it.
ITEMS_A_JOB = 2
# Workers that an item may end while it is the only one under way.
ALONE = 2
# What a pipe takes whole or not at all (PIPE_BUF), less what is said around a result.
WHOLE = 3000


class Pickled(NamedTuple):
    """A result in a slot: through the pipe it would come in parts, and not to its end where its worker is killed."""

    place: Slot


class _Task:
    """An item under way: the slot for its bytes and its result's, and how many workers it ended."""

    def __init__(self, item: Any, slot: int) -> None:
        self.item, self.slot = item, slot
        self.future: Future[Any] | None = None
        self.ended = 0

    def lost(self) -> bool:
        """Whether its result will never come."""
        return self.future is None or (self.future.done() and isinstance(self.future.exception(), BrokenProcessPool))


class Processes:
    """`jobs` processes that call `function`; a `Crew` of `stages.engine`."""

    def __init__(self, function: Callable[[Any], Any], jobs: int, name: Callable[[Any], str]) -> None:
        self._function, self._jobs, self._name = function, jobs, name
        self._slots = Slots(ITEMS_A_JOB * jobs)
        self._tasks: list[_Task] = []
        self._pool = self._new_pool()

    def most(self) -> int:
        return ITEMS_A_JOB * self._jobs

    def begin(self, item: Any) -> _Task:
        task = _Task(item, self._slots.take())
        self._tasks.append(task)
        self._submit(task)
        return task

    def end(self, task: _Task) -> Any:
        while True:
            if task.future is not None:
                try:
                    result = self._result(task.future.result())
                    break
                except BrokenProcessPool:
                    pass
            self._begin_again(task)
        self._tasks.remove(task)
        self._slots.give_back(task.slot)
        return result

    def __enter__(self) -> Processes:
        return self

    def __exit__(self, kind: Any, error: Any, at: Any) -> None:
        workers = multiprocessing.active_children()
        if kind is not None:
            # Nobody takes what they are at, which may be a whole file.
            _terminate(workers)
        watch = threading.Thread(target=_end_together, args=(workers,), daemon=True)
        watch.start()
        self._pool.shutdown(cancel_futures=True)
        watch.join()
        self._slots.close()

    def _result(self, sent: Any) -> Any:
        """What `_call` was given by the function."""
        if isinstance(sent, Pickled):
            return pickle.loads(self._slots.get(sent.place))
        return self._slots.taken_out(sent)

    def _new_pool(self) -> ProcessPoolExecutor:
        # Forked, so that they see the slots; all of them at the first item, before this process has more threads.
        context = multiprocessing.get_context("fork")
        return ProcessPoolExecutor(self._jobs, context, initializer=_start, initargs=(self._function, self._slots))

    def _submit(self, task: _Task) -> None:
        """Submit one item. That may start the workers: signals wait meanwhile, so that none is left half started."""
        held = signal.pthread_sigmask(signal.SIG_BLOCK, _ENDING)
        try:
            task.future = self._pool.submit(_call, self._slots.put_in(task.item, task.slot), task.slot)
        except BrokenProcessPool:
            task.future = None
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, held)

    def _begin_again(self, first: _Task) -> None:
        """Half as many processes for the items whose results were lost; `first` is the first of them."""
        # The pool has ended the workers that were left.
        self._pool.shutdown()
        alone = self._jobs == 1
        if alone:
            # One worker takes the items in their order.
            first.ended += 1
            if first.ended == ALONE:
                raise Retryable(
                    f"the worker at {self._name(first.item)} was killed {ALONE} times, also with nothing beside it, "
                    "most likely for lack of memory; with more of it, the same command resumes"
                )
        self._jobs = max(1, self._jobs // 2)
        print(
            f"a worker was killed, most likely for lack of memory; trying {self._name(first.item)} and what follows "
            f"again with {self._jobs} job{'s' * (self._jobs > 1)}",
            file=sys.stderr,
        )
        self._pool = self._new_pool()
        for task in filter(_Task.lost, self._tasks):
            self._submit(task)


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
_slots: Slots


def _start(function: Callable[[Any], Any], slots: Slots) -> None:
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


def _call(item: Any, slot: int) -> Any:
    result = _function(_slots.taken_out(item))
    sent = _slots.put_in(result, slot)
    if len(pickle.dumps(sent)) <= WHOLE:
        return sent
    return Pickled(_slots.put(slot, pickle.dumps(result)))
