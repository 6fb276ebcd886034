"""Requests that wait at the same time are one call; none waits for others to come, and none takes others down."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from stages.serve.batching import Batcher


def batcher(calls: list[list[int]], max_cost: int = 100, inline_cost: int = 100) -> Batcher[int, int]:
    def process(items: list[int]) -> list[int | Exception]:
        calls.append(items)
        return [ValueError(str(item)) if item < 0 else 2 * item for item in items]

    return Batcher(process, abs, max_cost, inline_cost, ThreadPoolExecutor(1), lambda requests: None)


@pytest.mark.parametrize("inline_cost", [0, 100])
def test_what_waits_together_is_one_call(inline_cost: int) -> None:
    calls: list[list[int]] = []

    async def ask() -> Any:
        working = batcher(calls, inline_cost=inline_cost)
        first = await asyncio.gather(*map(working.submit, (1, 2, 3)))
        return [*first, await working.submit(4)]

    assert asyncio.run(ask()) == [2, 4, 6, 8]
    assert calls == [[1, 2, 3], [4]]


def test_a_batch_has_so_much_or_one_item() -> None:
    calls: list[list[int]] = []

    async def ask() -> Any:
        return await asyncio.gather(*map(batcher(calls, max_cost=5).submit, (3, 2, 1, 9, 1)))

    assert asyncio.run(ask()) == [6, 4, 2, 18, 2]
    assert calls == [[3, 2], [1], [9], [1]]


def test_an_error_is_of_its_item_alone() -> None:
    async def ask() -> Any:
        return await asyncio.gather(*map(batcher([]).submit, (1, -2, 3)), return_exceptions=True)

    one, other, third = asyncio.run(ask())
    assert (one, str(other), third) == (2, "-2", 6)


def test_nobody_works_for_those_who_gave_up() -> None:
    calls: list[list[int]] = []

    async def ask() -> Any:
        working = batcher(calls)
        gone = asyncio.create_task(working.submit(1))
        stays = asyncio.create_task(working.submit(2))
        asyncio.get_running_loop().call_soon(gone.cancel)
        await asyncio.wait([gone, stays])
        return gone.cancelled(), stays.result()

    assert asyncio.run(ask()) == (True, 4)


def test_a_call_that_fails_is_told_to_all_and_the_next_one_works() -> None:
    broken = [True]

    def process(items: list[int]) -> list[int | Exception]:
        if broken.pop() if broken else False:
            raise RuntimeError("broken")
        return list(items)

    async def ask() -> Any:
        working: Batcher[int, int] = Batcher(process, abs, 10, 10, ThreadPoolExecutor(1), lambda requests: None)
        failed = await asyncio.gather(*map(working.submit, (1, 2)), return_exceptions=True)
        return [type(each) for each in failed], await working.submit(3)

    assert asyncio.run(ask()) == ([RuntimeError, RuntimeError], 3)
