"""Held-out text on which recipes are compared: a fixed share of its tokens masked by whole words, the same draws."""

from __future__ import annotations

from collections.abc import Iterator

from numpy.random import SFC64, Generator, SeedSequence

from stages.formats.batches import Batch
from stages.formats.decoding import Chunk, rows
from stages.formats.shards import Shards
from stages.formats.windows import held_out_examples, masked_examples, masked_windows

LENGTH = 128  # tokens of a window
MASKED = 0.15  # share of the tokens
TOKENS = 32_768  # of an evaluation, at each length
# What is random here, beside the uses of batches.py and of the efficient recipe.
_HELD_OUT = 101


def yardstick(shards: Shards, entries: int, length: int | None) -> Iterator[Batch]:
    """Held-out batches, the same at every call: windows of `length`, or examples where it is None.

    They have TOKENS tokens, of which a share of MASKED is masked.
    """
    left = TOKENS
    files = shards.paths(shards.held_out)
    whole = held_out_examples(files, shards.seq_length, shards.max_predictions, entries)
    for number, chunk in enumerate(_sixteen(whole)):
        generator = Generator(SFC64(SeedSequence(0, spawn_key=(_HELD_OUT, number))))
        if length is None:
            yield masked_examples(chunk, MASKED, 1, generator)
        else:
            yield masked_windows(chunk, length, MASKED, 1, generator)
        left -= int(chunk.mask.sum())
        if left <= 0:
            return


def _sixteen(whole: Iterator[Chunk]) -> Iterator[Chunk]:
    """Chunks cut to sixteen examples."""
    for chunk in whole:
        for first in range(0, len(chunk.ids), 16):
            yield rows(chunk, slice(first, first + 16))
