"""A batch of masked examples → its tokens before masking, and the treatment of each masked token."""

import numpy as np
from numpy.typing import NDArray

from stages.formats.batches import Batch

TREATMENTS = ("[MASK]", "kept", "random")


def unmask(batch: Batch) -> NDArray[np.int32]:
    """The token ids before masking: (B, L)."""
    ids = batch.ids.copy()
    examples, slots = np.nonzero(batch.weights)
    ids[examples, batch.positions[examples, slots]] = batch.labels[examples, slots]
    return ids


def treatments(batch: Batch, mask_id: int) -> NDArray[np.int64]:
    """The entry at each masked position, as an index into TREATMENTS: (B, P).

    A random entry that equals the label counts as kept. The values of unused slots have no meaning.
    """
    ids = np.take_along_axis(batch.ids, batch.positions, 1)
    return np.where(ids == mask_id, 0, np.where(ids == batch.labels, 1, 2))
