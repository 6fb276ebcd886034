"""Examples of TFRecords → batches of the efficient recipe: windows of text, masked by words or tokens at any rate.

Masks that an example came with are undone first. A short batch joins the texts of its examples and cuts them into
windows of one length, `[CLS] text`, in which `[SEP]` stays between texts; what is left over behind the last window is
dropped, half a window on average. A long batch takes the examples as they are, pairs with their sentence order.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from stages.formats.batches import Batch, TrainingData
from stages.formats.decoding import ROWS, Chunk, chunks, rows
from stages.words.japanese_subwords import SPECIAL_TOKENS

CLS, SEP, MASK = (SPECIAL_TOKENS.index(name) for name in ("[CLS]", "[SEP]", "[MASK]"))
# The sentence order of an example that has none: cross entropy ignores it.
NO_ORDER = -100


class Whole:
    """Undoes the masks of examples. It takes the place of DynamicMasking in TrainingData."""

    def masked(self, chunk: Chunk, *position: int) -> Chunk:
        """The same examples with no token masked: what stood at a position of weight 1 is its label."""
        ids = chunk.ids.copy()
        examples, slots = np.nonzero(chunk.weights)
        ids[examples, chunk.positions[examples, slots]] = chunk.labels[examples, slots]
        return chunk._replace(ids=ids)


class Examples(TrainingData):
    """Whole examples with their word starts, shuffled, from any position: `Chunk` in place of `Batch`."""

    def _own(self, chunk: Chunk) -> Chunk:  # type: ignore[override]
        return rows(chunk, self._slice)


def held_out_examples(files: list[str], sequence: int, predictions: int, entries: int) -> Iterator[Chunk]:
    """The examples of held-out files in their order, whole."""
    for path in files:
        for chunk in chunks(path, sequence, predictions, True, ROWS, entries):
            yield Whole().masked(chunk)


def short(chunk: Chunk, length: int) -> tuple[NDArray[np.int32], NDArray[np.bool_]]:
    """The texts of whole examples as windows: ids and word starts, both (windows, length); shorter if there is less."""
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
    """Windows of `length` tokens of whole examples, masked; without segments and sentence order."""
    ids, starts = short(chunk, length)
    return _masked(
        ids, starts, np.ones_like(ids, np.uint8), np.zeros_like(ids, np.uint8), np.full(len(ids), NO_ORDER, np.int32),
        rate, words, generator,
    )  # fmt: skip


def masked_examples(chunk: Chunk, rate: float, words: float, generator: Generator) -> Batch:
    """Whole examples, masked: pairs of texts with their segments and their sentence order."""
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
