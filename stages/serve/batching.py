"""Requests that wait at the same time → one call for all of them."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from typing import Generic, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


class Batcher(Generic[Item, Result]):
    """Gathers what is asked for while a batch runs into the next one: no one waits for company that may not come.

    answer: items → their results, one each; an Exception among the results is raised for its item alone.
    cost: what an item takes, in any unit. A batch has `most` of it, or one item; one of at most `immediate` runs in the
    event loop itself (20,000 characters to ids take 6 ms, and waking a thread up 0.06), any other in `threads`.
    told: called with the number of items of each batch.
    """

    def __init__(
        self,
        answer: Callable[[list[Item]], Sequence[Result | Exception]],
        cost: Callable[[Item], int],
        most: int,
        immediate: int,
        threads: Executor,
        told: Callable[[int], None],
    ) -> None:
        self._answer, self._cost, self._most, self._immediate = answer, cost, most, immediate
        self._threads, self._told = threads, told
        self._waiting: list[tuple[Item, asyncio.Future[Result]]] = []
        self._worker: asyncio.Task[None] | None = None

    async def ask(self, item: Item) -> Result:
        """The result of an item, once its batch is done."""
        future: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        self._waiting.append((item, future))
        if self._worker is None:
            self._worker = asyncio.create_task(self._work())
        return await future

    async def _work(self) -> None:
        try:
            while batch := self._next():
                await self._run(batch)
        finally:
            self._worker = None

    def _next(self) -> list[tuple[Item, asyncio.Future[Result]]]:
        # Those that gave up, for the time they had to wait, are not worked for.
        waiting = [(item, future) for item, future in self._waiting if not future.done()]
        total = taken = 0
        for item, _ in waiting:
            total += self._cost(item)
            if taken and total > self._most:
                break
            taken += 1
        self._waiting = waiting[taken:]
        return waiting[:taken]

    async def _run(self, batch: list[tuple[Item, asyncio.Future[Result]]]) -> None:
        items = [item for item, _ in batch]
        results: Sequence[Result | Exception]
        self._told(len(items))
        try:
            if sum(map(self._cost, items)) <= self._immediate:
                results = self._answer(items)
            else:
                results = await asyncio.get_running_loop().run_in_executor(self._threads, self._answer, items)
        except Exception as error:
            results = [error] * len(items)
        for (_, future), result in zip(batch, results, strict=True):
            with contextlib.suppress(asyncio.InvalidStateError):  # Its request was cancelled in the meantime.
                if isinstance(result, Exception):
                    future.set_exception(result)
                else:
                    future.set_result(result)
