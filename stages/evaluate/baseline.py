"""Training examples → two baselines: the share of each token, and the counts of its neighbours."""

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from stages.evaluate.neighbours import GUESSES, Neighbours
from stages.evaluate.unmasking import unmask
from stages.formats.batches import Batch

# Losses in nats of n masked tokens, and the most probable entries there: (n,), (n, GUESSES).
Guesses = tuple[NDArray[np.floating], NDArray[np.int64]]


class Unigram:
    """P(entry) = (count + 1) / (tokens + entries): add-one smoothing over the whole vocabulary (Laplace).

    counts: (entries,). `best`: the most frequent entries, equal ones by id.
    """

    def __init__(self, counts: NDArray[np.int64]) -> None:
        self.tokens = int(counts.sum())
        self.losses = np.log(self.tokens + len(counts)) - np.log1p(counts)  # in nats, (entries,)
        self.best = np.argsort(-counts, kind="stable")[:GUESSES]

    def predict_batch(self, batch: Batch) -> Guesses:
        """Guesses for the masked tokens, in the order of np.nonzero(batch.weights)."""
        labels = batch.labels[np.nonzero(batch.weights)]
        return self.losses[labels], np.broadcast_to(self.best, (len(labels), GUESSES))


def unmasked_text(batches: Iterable[Batch]) -> NDArray[np.int32]:
    """The ids of all examples before masking, concatenated, without padding: (tokens,)."""
    parts = [unmask(batch)[batch.mask > 0] for batch in batches]
    return np.concatenate([np.empty(0, np.int32), *parts])


def predict_batch(neighbours: Neighbours, batch: Batch) -> Guesses:
    """As `Unigram.predict_batch`. The neighbours are those in the model's input: maybe [MASK] or a random entry."""
    examples, slots = np.nonzero(batch.weights)
    ids, positions = np.pad(batch.ids, ((0, 0), (1, 1))), batch.positions[examples, slots]
    return neighbours.predict(ids[examples, positions], ids[examples, positions + 2], batch.labels[examples, slots])
