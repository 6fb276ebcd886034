"""Concurrent requests → one call for all of them."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from typing import Generic, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


class Batcher(Generic[Item, Result]):
    """Collects the items that arrive while a batch runs into the next batch. No item waits for others to arrive.

    process: items → their results in order. An Exception among the results is raised for its item alone.
    cost: the cost of an item, in any unit. A batch costs at most `max_cost`, or has one item.
    inline_cost: a batch of at most this cost runs in the event loop, any other in `threads`: 20,000 characters to ids
    take 6 ms, waking a thread 0.06 ms.
    on_batch: called with the number of items of each batch.
    """

    def __init__(
        self,
        process: Callable[[list[Item]], Sequence[Result | Exception]],
        cost: Callable[[Item], int],
        max_cost: int,
        inline_cost: int,
        threads: Executor,
        on_batch: Callable[[int], None],
    ) -> None:
        self._process, self._cost, self._max_cost, self._inline_cost = process, cost, max_cost, inline_cost
        self._threads, self._on_batch = threads, on_batch
        self._queue: list[tuple[Item, asyncio.Future[Result]]] = []
        self._worker: asyncio.Task[None] | None = None

    async def submit(self, item: Item) -> Result:
        """The result of an item, once its batch is finished."""
        future: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        self._queue.append((item, future))
        if self._worker is None:
            self._worker = asyncio.create_task(self._work())
        return await future

    async def _work(self) -> None:
        try:
            while batch := self._next():
                items = [item for item, _ in batch]
                results = await self._results(items)
                for (_, future), result in zip(batch, results, strict=True):
                    with contextlib.suppress(asyncio.InvalidStateError):  # The request was cancelled in the meantime.
                        if isinstance(result, Exception):
                            future.set_exception(result)
                        else:
                            future.set_result(result)
        finally:
            self._worker = None

    def _next(self) -> list[tuple[Item, asyncio.Future[Result]]]:
        queue = [(item, future) for item, future in self._queue if not future.done()]  # without cancelled requests
        cost = size = 0
        for item, _ in queue:
            cost += self._cost(item)
            if size and cost > self._max_cost:
                break
            size += 1
        self._queue = queue[size:]
        return queue[:size]

    async def _results(self, items: list[Item]) -> Sequence[Result | Exception]:
        self._on_batch(len(items))
        try:
            if sum(map(self._cost, items)) <= self._inline_cost:
                return self._process(items)
            return await asyncio.get_running_loop().run_in_executor(self._threads, self._process, items)
        except Exception as error:
            return [error] * len(items)
