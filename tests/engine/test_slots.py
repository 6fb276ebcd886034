"""Bytes go through a slot, or its file."""

import multiprocessing
from collections.abc import Iterator

import pytest

from stages.engine.slots import SLOT_BYTES, Slot, Slots


@pytest.fixture
def slots() -> Iterator[Slots]:
    """Two of them."""
    made = Slots(2)
    yield made
    made.close()


@pytest.mark.parametrize("data", [b"", b"one", bytes(range(256)) * 100, b"x" * SLOT_BYTES, b"x" * (SLOT_BYTES + 1)])
def test_bytes_come_back_as_they_were(slots: Slots, data: bytes) -> None:
    one, other = slots.take(), slots.take()
    for _ in range(2):
        placed, beside = slots.put(one, data), slots.put(other, b"y" * SLOT_BYTES)
        assert slots.get(placed) == data
    assert slots.get(beside) == b"y" * SLOT_BYTES


def test_a_slot_belongs_to_one_at_a_time(slots: Slots) -> None:
    first = slots.take()
    assert slots.take() != first
    with pytest.raises(IndexError):
        slots.take()
    slots.give_back(first)
    assert slots.take() == first


@pytest.mark.parametrize("data", [b"from elsewhere", b"from elsewhere" * SLOT_BYTES])
def test_another_process_sees_it(slots: Slots, data: bytes) -> None:
    process = multiprocessing.get_context("fork").Process(target=slots.put, args=(0, data))
    process.start()
    process.join()
    assert slots.get(Slot(0, len(data))) == data
