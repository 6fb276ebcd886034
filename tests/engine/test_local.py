"""Values go to another process and back through a file in memory."""

import multiprocessing
import os
from collections.abc import Iterator

import pytest

from stages.engine.local import KEPT_BYTES, Processes, put, shared_file, take


@pytest.fixture
def files() -> Iterator[list[int]]:
    """Two of them."""
    made = [shared_file(), shared_file()]
    yield made
    for file in made:
        os.close(file)


@pytest.mark.parametrize("data", [b"", b"one", bytes(range(256)) * 100, b"x" * KEPT_BYTES, b"x" * (KEPT_BYTES + 1)])
def test_values_come_back_as_they_were(files: list[int], data: bytes) -> None:
    one, other = files
    for _ in range(2):
        put(one, {"data": data})
        put(other, b"y" * KEPT_BYTES)
        assert take(one) == {"data": data}
    assert take(other) == b"y" * KEPT_BYTES


def test_the_memory_of_a_large_value_is_freed(files: list[int]) -> None:
    put(files[0], b"x" * KEPT_BYTES)
    put(files[1], b"x" * (KEPT_BYTES // 2))
    assert [len(take(file)) for file in files] == [KEPT_BYTES, KEPT_BYTES // 2]
    assert os.fstat(files[0]).st_size == 0
    assert os.fstat(files[1]).st_size > KEPT_BYTES // 2


def test_a_file_belongs_to_one_item_at_a_time() -> None:
    with Processes(abs, 1, str) as pool:
        first, second = pool.begin(-1), pool.begin(-2)
        assert second.file != first.file
        with pytest.raises(IndexError):
            pool.begin(-3)
        assert pool.end(first) == 1
        third = pool.begin(-3)
        assert third.file == first.file
        assert [pool.end(second), pool.end(third)] == [2, 3]


@pytest.mark.parametrize("data", [b"from elsewhere", b"from elsewhere" * KEPT_BYTES])
def test_another_process_sees_it(files: list[int], data: bytes) -> None:
    process = multiprocessing.get_context("fork").Process(target=put, args=(files[0], data))
    process.start()
    process.join()
    assert take(files[0]) == data
