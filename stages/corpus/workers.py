"""A function and its inputs → its results in the same order, worked out by several processes at once."""

from __future__ import annotations

import functools
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable
from typing import TYPE_CHECKING, Any, TypeVar

from stages.corpus.articles import Made
from stages.corpus.documents import Batch
from stages.corpus.slots import Slots
from stages.handover import Refusal

if TYPE_CHECKING:
    from concurrent.futures import Future, ProcessPoolExecutor

T = TypeVar("T")
R = TypeVar("R")


def in_order(work: Callable[[T], R], items: Iterable[T], jobs: int) -> Generator[R, None, None]:
    """`map(work, items)` with `jobs` processes and at most two items for each at a time.

    A `Refusal` raised by `items` comes behind the results of the items before it, so that the first
    error in the input is the one that is told, at any number of jobs. One job is this process itself.
    """
    if jobs == 1:
        yield from map(work, items)
        return
    # 40 ms to import, which one job need not take.
    import multiprocessing
    from concurrent.futures import ProcessPoolExecutor
    from concurrent.futures.process import BrokenProcessPool

    # Forked, so that they see the slots; all of them at the first item, before this process has threads.
    slots = Slots(2 * jobs)
    context = multiprocessing.get_context("fork")
    pool = ProcessPoolExecutor(jobs, context, initializer=_start, initargs=(work, slots))
    pending: deque[tuple[Future[Any], int]] = deque()
    refusal = None

    def first_result() -> Any:
        future, slot = pending.popleft()
        result = _moved(future.result(), slots.get)
        slots.give_back(slot)
        return result

    try:
        remaining = iter(items)
        while True:
            try:
                item = next(remaining)
            except StopIteration:
                break
            except Refusal as error:
                refusal = error
                break
            slot = slots.take()
            pending.append((_submit(pool, _moved(item, functools.partial(slots.put, slot)), slot), slot))
            if len(pending) >= 2 * jobs:
                yield first_result()
        while pending:
            yield first_result()
    except BrokenProcessPool:
        raise Refusal("a worker process was killed, most likely for lack of memory; run again with fewer --jobs")
    except BaseException:
        # Nobody takes what they are at, which may be a whole file.
        for worker in multiprocessing.active_children():
            worker.terminate()
        raise
    finally:
        pool.shutdown(cancel_futures=True)
    if refusal:
        raise refusal


_ENDING = {signal.SIGINT, signal.SIGTERM}
_work: Callable[[Any], Any]
_slots: Slots


def _moved(value: Any, move: Callable[[Any], Any]) -> Any:
    """A batch, or what came of one, with its bytes moved into a slot or out of it; anything else as it is."""
    if isinstance(value, Batch):
        return value._replace(data=move(value.data))
    if isinstance(value, Made):
        return value._replace(text=move(value.text))
    return value


def _submit(pool: ProcessPoolExecutor, item: Any, slot: int) -> Future[Any]:
    """Submit one item. That may start a worker: signals wait meanwhile, so that none is left half started."""
    held = signal.pthread_sigmask(signal.SIG_BLOCK, _ENDING)
    try:
        return pool.submit(_call, item, slot)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, held)


def _start(work: Callable[[Any], Any], slots: Slots) -> None:
    """In a worker: keep the function, leave Ctrl-C to the parent, and end when the parent is gone."""
    global _work, _slots
    _work, _slots = work, slots
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _ENDING)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    import multiprocessing

    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _call(item: Any, slot: int) -> Any:
    made = _work(_moved(item, _slots.get))
    return _moved(made, functools.partial(_slots.put, slot))
