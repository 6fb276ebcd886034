"""Bytes go through a slot, or past it."""

import multiprocessing

import pytest

from stages.slots import SLOT_BYTES, Slot, Slots


@pytest.mark.parametrize("data", [b"", b"one", bytes(range(256)) * 100, b"x" * SLOT_BYTES, b"x" * (SLOT_BYTES + 1)])
def test_bytes_come_back_as_they_were(data: bytes) -> None:
    slots = Slots(2)
    one, other = slots.take(), slots.take()
    placed, beside = slots.put(one, data), slots.put(other, b"y" * SLOT_BYTES)
    assert (placed is data) is (len(data) > SLOT_BYTES)
    assert slots.get(placed) == data
    assert slots.get(beside) == b"y" * SLOT_BYTES


def test_a_slot_belongs_to_one_at_a_time() -> None:
    slots = Slots(2)
    first = slots.take()
    assert slots.take() != first
    with pytest.raises(IndexError):
        slots.take()
    slots.give_back(first)
    assert slots.take() == first


def test_another_process_sees_it() -> None:
    slots = Slots(1)
    process = multiprocessing.get_context("fork").Process(target=slots.put, args=(0, b"from elsewhere"))
    process.start()
    process.join()
    assert slots.get(Slot(0, 14)) == b"from elsewhere"
