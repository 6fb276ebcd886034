"""Training examples → two models to compare with: each token's share of the text, and its neighbours' counts."""

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from stages.evaluate.neighbours import GUESSES, Neighbours
from stages.evaluate.unmasking import restored
from stages.formats.batches import Batch

# Losses in nats of n masked tokens, and the most probable entries there: (n,), (n, GUESSES).
Guesses = tuple[NDArray[np.floating], NDArray[np.int64]]


class Unigram:
    """P(entry) = (count + 1) / (tokens + entries): add-one smoothing over the whole vocabulary (Laplace).

    counts: (entries,), how often each was seen. `best` are its guesses for any gap, by count, then by id.
    """

    def __init__(self, counts: NDArray[np.int64]) -> None:
        self.tokens = int(counts.sum())
        self.losses = np.log(self.tokens + len(counts)) - np.log1p(counts)  # in nats, (entries,)
        self.best = np.argsort(-counts, kind="stable")[:GUESSES]

    def of_batch(self, batch: Batch) -> Guesses:
        """Its guesses for the masked tokens, in the order of np.nonzero(batch.weights)."""
        labels = batch.labels[np.nonzero(batch.weights)]
        return self.losses[labels], np.broadcast_to(self.best, (len(labels), GUESSES))


def text(batches: Iterable[Batch]) -> NDArray[np.int32]:
    """The ids of these examples before masking, one behind another, without padding: (tokens,)."""
    parts = [restored(batch)[batch.mask > 0] for batch in batches]
    return np.concatenate([np.empty(0, np.int32), *parts])


def of_batch(neighbours: Neighbours, batch: Batch) -> Guesses:
    """As `Unigram.of_batch`. The neighbours are what the model sees there: [MASK], or a random entry."""
    examples, slots = np.nonzero(batch.weights)
    ids, places = np.pad(batch.ids, ((0, 0), (1, 1))), batch.positions[examples, slots]
    return neighbours.predict(ids[examples, places], ids[examples, places + 2], batch.labels[examples, slots])
