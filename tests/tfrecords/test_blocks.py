"""Articles → blocks: none is lost or moved, none is alone, and the size is bounded."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.tfrecords.blocks import blocks


def cut(lengths: list[int], size: int) -> list[list[int]]:
    """The lengths of the articles in each block, where each article has one sentence."""
    articles = [["字" * length] for length in lengths]
    return [[len(article[0]) for article in block] for block in blocks(iter(articles), size)]


@pytest.mark.parametrize(
    ("lengths", "expected"),
    [
        ([], []),
        ([3], [[3]]),
        ([3, 4], [[3, 4]]),
        ([5, 5, 5, 5], [[5, 5], [5, 5]]),
        ([5, 5, 5, 4], [[5, 5], [5, 4]]),
        ([5, 5, 1, 1], [[5, 5, 1, 1]]),
        ([5, 5, 9], [[5, 5, 9]]),
        ([50, 1, 4, 4], [[50, 1], [4, 4]]),
        ([1, 1, 50, 50, 1], [[1, 1, 50], [50, 1]]),
    ],
    ids=str,
)
def test_where_blocks_end(lengths: list[int], expected: list[list[int]]) -> None:
    assert cut(lengths, 10) == expected


@given(st.lists(st.integers(1, 30), max_size=60), st.integers(1, 100))
def test_no_article_is_lost_and_none_is_alone(lengths: list[int], size: int) -> None:
    made = cut(lengths, size)
    assert [length for block in made for length in block] == lengths
    if len(made) > 1:
        assert all(len(block) > 1 for block in made)
        assert all(sum(block) >= size for block in made[:-1])
    longest = max(lengths, default=0)
    assert all(sum(block) < 1.5 * size + 3 * longest for block in made)
