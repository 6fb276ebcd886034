"""Values go to another process and back through memory that both see, or a file."""

import multiprocessing
import os
from collections.abc import Iterator

import pytest

from stages.engine.local import SLOT_BYTES, Processes, Slot


@pytest.fixture
def slots() -> Iterator[list[Slot]]:
    """Two of them."""
    made = [Slot(), Slot()]
    yield made
    for slot in made:
        slot.close()


@pytest.mark.parametrize("data", [b"", b"one", bytes(range(256)) * 100, b"x" * SLOT_BYTES, b"x" * (SLOT_BYTES + 1)])
def test_values_come_back_as_they_were(slots: list[Slot], data: bytes) -> None:
    one, other = slots
    for _ in range(2):
        one.put({"data": data})
        other.put(b"y" * SLOT_BYTES)
        assert one.take() == {"data": data}
    assert other.take() == b"y" * SLOT_BYTES


def test_the_space_of_a_large_value_is_freed(slots: list[Slot]) -> None:
    slots[0].put(b"x" * SLOT_BYTES)
    assert os.fstat(slots[0]._file.fileno()).st_size > SLOT_BYTES
    assert len(slots[0].take()) == SLOT_BYTES
    assert os.fstat(slots[0]._file.fileno()).st_size == 0


def test_a_slot_belongs_to_one_item_at_a_time() -> None:
    with Processes(abs, 1, str) as pool:
        first, second = pool.begin(-1), pool.begin(-2)
        assert second.slot != first.slot
        with pytest.raises(IndexError):
            pool.begin(-3)
        assert pool.end(first) == 1
        third = pool.begin(-3)
        assert third.slot == first.slot
        assert [pool.end(second), pool.end(third)] == [2, 3]


@pytest.mark.parametrize("data", [b"from elsewhere", b"from elsewhere" * SLOT_BYTES])
def test_a_value_reaches_another_process(slots: list[Slot], data: bytes) -> None:
    process = multiprocessing.get_context("fork").Process(target=slots[0].put, args=(data,))
    process.start()
    process.join()
    assert slots[0].take() == data
