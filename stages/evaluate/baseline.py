"""Training examples → a unigram model: each token's share of them, whatever stands around it."""

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from stages.evaluate.unmasking import restored
from stages.train.records import Batch


class Unigram:
    """P(entry) = (count + 1) / (tokens + entries): add-one smoothing over the whole vocabulary (Laplace).

    counts: (entries,), how often each was seen. `best` are its guesses for any gap, by count, then by id.
    """

    def __init__(self, counts: NDArray[np.int64], guesses: int = 5) -> None:
        self.tokens = int(counts.sum())
        self.losses = np.log(self.tokens + len(counts)) - np.log1p(counts)  # in nats, (entries,)
        self.best = np.argsort(-counts, kind="stable")[:guesses]


def count(batches: Iterable[Batch], entries: int, left_out: list[int]) -> NDArray[np.int64]:
    """How often each entry stands in these examples, before masking: (entries,). `left_out`: [CLS] and its like."""
    counts = np.zeros(entries, np.int64)
    for batch in batches:
        counts += np.bincount(restored(batch)[batch.mask > 0], minlength=entries)
    counts[left_out] = 0
    return counts
