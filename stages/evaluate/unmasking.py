"""A batch of masked examples → their tokens as they were before masking, and what was done to each masked one."""

import numpy as np
from numpy.typing import NDArray

from stages.formats.batches import Batch

TREATMENTS = ("[MASK]", "kept", "random")


def restored(batch: Batch) -> NDArray[np.int32]:
    """The token ids with the labels put back: (B, L)."""
    ids = batch.ids.copy()
    examples, slots = np.nonzero(batch.weights)
    ids[examples, batch.positions[examples, slots]] = batch.labels[examples, slots]
    return ids


def treatments(batch: Batch, mask_id: int) -> NDArray[np.int64]:
    """What stands at each masked position, as a number into TREATMENTS: (B, P).

    A random entry that happens to be the right one, once in as many times as the vocabulary has entries, counts as
    kept. Unused slots have a number that means nothing.
    """
    seen = np.take_along_axis(batch.ids, batch.positions, 1)
    return np.where(seen == mask_id, 0, np.where(seen == batch.labels, 1, 2))
