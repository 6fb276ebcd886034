"""Examples of TFRecords → batches of the efficient recipe: windows of text, masked by words or tokens at any rate.

Masks that an example came with are undone first. A short batch joins the texts of its examples and cuts them into
windows of one length, `[CLS] text`, in which `[SEP]` stays between texts; the rest behind the last window is dropped,
half a window on average. A long batch takes the examples as they are, pairs with their sentence order.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.random import SFC64, Generator, SeedSequence
from numpy.typing import NDArray

from stages.formats.batches import Batch, unmasked
from stages.formats.decoding import Chunk, chunks
from stages.formats.shards import Shards
from stages.words.japanese_subwords import SPECIAL_TOKENS

CLS, SEP, MASK = (SPECIAL_TOKENS.index(name) for name in ("[CLS]", "[SEP]", "[MASK]"))
# The sentence order of an example that has none: cross entropy ignores it.
NO_ORDER = -100
# The held-out evaluation: tokens of a window, masked share of the tokens, tokens at each length, examples of a batch.
LENGTH, MASKED, TOKENS, EXAMPLES = 128, 0.15, 32_768, 16
# The spawn key of its random numbers, beside those of batches.py and of the efficient recipe.
_HELD_OUT = 101


def windows(chunk: Chunk, length: int) -> tuple[NDArray[np.int32], NDArray[np.bool_]]:
    """The texts of unmasked examples as windows: ids and word starts, both (windows, length).

    A single window is shorter if there is less text.
    """
    kept = (chunk.mask > 0) & (chunk.ids != CLS)
    text, starts = chunk.ids[kept], chunk.starts[kept] > 0
    length = min(length, len(text) + 1)
    count = len(text) // (length - 1)
    ids, begins = np.full((count, length), CLS, np.int32), np.ones((count, length), np.bool_)
    ids[:, 1:] = text[: count * (length - 1)].reshape(count, -1)
    begins[:, 1:] = starts[: count * (length - 1)].reshape(count, -1)
    begins[:, 1] = True
    return ids, begins


def masked_windows(chunk: Chunk, length: int, rate: float, words: float, generator: Generator) -> Batch:
    """Windows of `length` tokens of unmasked examples, masked; without segments and sentence order."""
    ids, starts = windows(chunk, length)
    mask, swapped = np.ones_like(ids, np.uint8), np.full(len(ids), NO_ORDER, np.int32)
    return _masked(ids, starts, mask, np.zeros_like(mask), swapped, rate, words, generator)


def masked_examples(chunk: Chunk, rate: float, words: float, generator: Generator) -> Batch:
    """Unmasked examples, masked: pairs of texts with their segments and their sentence order."""
    return _masked(chunk.ids, chunk.starts > 0, chunk.mask, chunk.segments, chunk.swapped, rate, words, generator)


def _masked(
    ids: NDArray[np.int32], starts: NDArray[np.bool_], mask: NDArray[np.uint8], segments: NDArray[np.uint8],
    swapped: NDArray[np.int32], rate: float, words: float, generator: Generator,
) -> Batch:  # fmt: skip
    """Each word is masked with probability `rate`, all of its tokens by `[MASK]`; at least one word of the batch is.

    In a share `words` of the rows. In the others each token is masked by itself: a model that has only seen whole
    words masked cannot fill a gap inside one. A replacement by the token itself or by a random one, as BERT has it, was
    tried: see README.md.
    """
    special = (ids == CLS) | (ids == SEP) | (mask == 0)
    starts = starts | special | (generator.random(len(ids)) >= words)[:, None]
    starts[:, 1:] |= special[:, :-1]
    word = np.cumsum(starts.reshape(-1)).reshape(ids.shape) - 1
    draws = generator.random(int(word[-1, -1]) + 1)
    chosen = (draws < rate)[word] & ~special
    if not chosen.any():
        chosen = (word == word[~special][int(draws[0] * (~special).sum())]) & ~special
    counts = chosen.sum(1)
    examples, places = np.nonzero(chosen)
    slots = np.arange(len(examples)) - np.repeat(np.cumsum(counts) - counts, counts)
    positions, labels = np.zeros((2, len(ids), int(counts.max())), np.int32)
    positions[examples, slots], labels[examples, slots] = places, ids[chosen]
    weights = np.zeros(positions.shape, np.float32)
    weights[examples, slots] = 1
    return Batch(np.where(chosen, MASK, ids).astype(np.int32), mask, segments, positions, labels, weights, swapped)


def held_out_evaluation(shards: Shards, entries: int, length: int | None) -> Iterator[Batch]:
    """Held-out batches on which recipes are compared: windows of `length`, or examples in full length where it is None.

    They have TOKENS tokens, of which a share of MASKED is masked by whole words; the same ones at every call.
    """
    left, sizes = TOKENS, (shards.seq_length, shards.max_predictions)
    files = shards.paths(shards.held_out)
    parts = (chunk for path in files for chunk in chunks(path, *sizes, starts=True, size=EXAMPLES, entries=entries))
    for number, chunk in enumerate(map(unmasked, parts)):
        generator = Generator(SFC64(SeedSequence(0, spawn_key=(_HELD_OUT, number))))
        if length is None:
            yield masked_examples(chunk, MASKED, 1, generator)
        else:
            yield masked_windows(chunk, length, MASKED, 1, generator)
        left -= int(chunk.mask.sum())
        if left <= 0:
            return
