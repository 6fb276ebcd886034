"""A function and its items → its results in the same order, computed by several workers concurrently.

`local` is processes of this machine, `ray` a cluster. Stages do not know which one works for them, and their bytes do
not depend on it.
"""

from collections import deque
from collections.abc import Callable, Generator, Iterable
from contextlib import AbstractContextManager
from typing import Any, Protocol, TypeVar

from stages.command.refusal import Refusal

T = TypeVar("T")
R = TypeVar("R")


class WorkerPool(AbstractContextManager["WorkerPool"], Protocol):
    """The workers of an engine, in a `with` block. If an error leaves the block, they drop their items."""

    def most(self) -> int:
        """How many items may be under way."""

    def begin(self, item: Any) -> Any:
        """Hand out an item, without waiting. Returns a task for `end`."""

    def end(self, task: Any) -> Any:
        """Wait for the result of a task. Raises what the function raised, such as a `Refusal`."""


def in_order(
    function: Callable[[T], R],
    items: Iterable[T],
    jobs: int,
    engine: str = "local",
    name: Callable[[T], str] = str,
) -> Generator[R, None, None]:
    """`map(function, items)` by `jobs` processes, or by all of a cluster, with a bounded number of items under way.

    `function` is defined in a module, or a partial of such a one. It is called again for an item whose worker is lost.
    An item that ends every worker is `Retryable`, with its `name`. A `Refusal` raised by `items` comes after the
    results of the items before it, so the first error in the input is reported, whatever the number of workers. One
    local job is this process itself.
    """
    if engine == "local" and jobs == 1:
        yield from map(function, items)
        return
    pool: WorkerPool
    if engine == "ray":
        from stages.engine.ray import Cluster

        pool = Cluster(function, name)
    else:
        from stages.engine.local import Processes

        pool = Processes(function, jobs, name)
    with pool:
        tasks: deque[Any] = deque()
        refusal = None
        remaining = iter(items)
        while True:
            try:
                item = next(remaining)
            except StopIteration:
                break
            except Refusal as error:
                refusal = error
                break
            tasks.append(pool.begin(item))
            while len(tasks) >= pool.most():
                yield pool.end(tasks.popleft())
        while tasks:
            yield pool.end(tasks.popleft())
        if refusal:
            raise refusal
