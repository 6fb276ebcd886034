"""Functions that the tests have a cluster call: its workers import them from here."""

import os
import signal
import time
from collections.abc import Iterator
from typing import NamedTuple

from stages.command.refusal import Refusal


def taken(number: int) -> Iterator[int]:
    """As many items; those that are taken are told."""
    for item in range(number):
        print(f"{item} taken", flush=True)
        yield item


def slow(number: int) -> int:
    time.sleep(0.3)
    return number


class Large(NamedTuple):
    """More than Ray sends along with an answer: it lies on the machine that made it."""

    data: bytes

    def __str__(self) -> str:
        return f"{self.data[0]} {len(self.data)}"


def large(number: int) -> Large:
    time.sleep(0.3)
    return Large(bytes([number]) * (1 << 20))


def refuse_even(number: int) -> int:
    time.sleep(0.3 / (1 + number))
    if number % 2 == 0:
        raise Refusal(f"no shard {number}")
    return number


def full(number: int) -> int:
    raise OSError(28, os.strerror(28), f"/data/{number}")


def wrong(number: int) -> int:
    raise ValueError(f"a bug at {number}")


def die_at_three(number: int) -> int:
    if number == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def process(number: int) -> int:
    """The worker's process, which the test may kill."""
    time.sleep(0.5)
    return os.getpid()


def beat(number: int, path: str) -> int:
    """Leaves a sign that it still runs, until it is ended."""
    while True:
        with open(path, "a", encoding="utf-8") as stream:
            stream.write(".")
        time.sleep(0.1)
