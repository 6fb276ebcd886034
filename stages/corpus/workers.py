"""A function and its inputs → its results in the same order, worked out by several processes at once."""

from __future__ import annotations

import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable
from typing import TYPE_CHECKING, Any, TypeVar

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

    # A new interpreter for each worker: no copy of the parent's files, locks and signal handlers.
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(jobs, context, initializer=_start, initargs=(work,))
    pending: deque[Future[Any]] = deque()
    refusal = None
    try:
        remaining = iter(items)
        while True:
            try:
                pending.append(_submit(pool, next(remaining)))
            except StopIteration:
                break
            except Refusal as error:
                refusal = error
                break
            if len(pending) >= 2 * jobs:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
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


def _submit(pool: ProcessPoolExecutor, item: Any) -> Future[Any]:
    """Submit one item. That may start a worker: signals wait meanwhile, so that none is left half started."""
    held = signal.pthread_sigmask(signal.SIG_BLOCK, _ENDING)
    try:
        return pool.submit(_call, item)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, held)


def _start(work: Callable[[Any], Any]) -> None:
    """In a worker: keep the function, leave Ctrl-C to the parent, and end when the parent is gone."""
    global _work
    _work = work
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _ENDING)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    import multiprocessing

    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _call(item: Any) -> Any:
    return _work(item)
