"""A function and its items → its results in the same order, computed by several workers concurrently.

The one contract between the stages and what runs their work: `local` is processes of this machine, `ray` a cluster.
Stages do not know which it is, and their bytes do not depend on it.
"""

from collections import deque
from collections.abc import Callable, Generator, Iterable
from typing import Any, Protocol, TypeVar

from stages.command.refusal import Refusal

T = TypeVar("T")
R = TypeVar("R")


class Crew(Protocol):
    """The workers of an engine, in a `with` block; when that is left by an error, they drop what they are at."""

    def most(self) -> int:
        """How many items may be under way."""

    def begin(self, item: Any) -> Any:
        """Hand out an item, without waiting; gives what `end` takes."""

    def end(self, task: Any) -> Any:
        """Wait for the item's result. A `Refusal` of the function is raised here."""

    def __enter__(self) -> "Crew": ...

    def __exit__(self, kind: Any, error: Any, at: Any) -> None: ...


def in_order(
    function: Callable[[T], R],
    items: Iterable[T],
    jobs: int,
    engine: str = "local",
    name: Callable[[T], str] = str,
) -> Generator[R, None, None]:
    """`map(function, items)` by `jobs` processes, or by all of a cluster, with a bounded number of items under way.

    `function` is a module's own, or a partial of one; it may be called more than once for an item, when the worker
    that had it is gone. An item that ends every worker it is given to is `Retryable`, with its `name`. A `Refusal`
    raised by `items` comes behind the results of the items before it, so that the first error in the input is the
    one that is told, on any number of workers. One local job is this process itself.
    """
    if engine == "local" and jobs == 1:
        yield from map(function, items)
        return
    with _crew(function, jobs, engine, name) as crew:
        pending: deque[Any] = deque()
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
            pending.append(crew.begin(item))
            while len(pending) >= crew.most():
                yield crew.end(pending.popleft())
        while pending:
            yield crew.end(pending.popleft())
        if refusal:
            raise refusal


def _crew(function: Callable[[T], R], jobs: int, engine: str, name: Callable[[T], str]) -> Crew:
    if engine == "ray":
        from stages.engine.ray import Cluster

        return Cluster(function, name)
    from stages.engine.local import Processes

    return Processes(function, jobs, name)
