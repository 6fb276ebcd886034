"""A block's tokens → its examples as TFRecords, in memory that does not depend on the number of copies."""

from collections.abc import Iterator

import numpy as np
from numpy.random import BitGenerator
from numpy.typing import NDArray

from stages.formats.encoding import encoded
from stages.formats.examples import Masking, Tokens, plan

# Instances of the longest plan: 60 MB. A block has some 25,000 sentences, and at most as many instances in a copy. So
# the published 40 copies are planned and shuffled together; they have far fewer instances, and take 5 MB.
ROWS = 1_500_000


def records(
    generator: BitGenerator, tokens: Tokens, masking: Masking, copies: int, short: float, rows: int = ROWS
) -> Iterator[NDArray[np.uint8]]:
    """The TFRecords of `copies` passes over a block, in batches. Each batch overwrites the memory of the batch before.

    A plan has as many copies as certainly fit into `rows` instances, and at least one. Copies of a plan are shuffled
    together.
    """
    sentences = len(tokens.sentences) - 1
    copies_a_plan = max(1, rows // max(1, sentences))
    for first in range(0, copies, copies_a_plan):
        count = min(copies_a_plan, copies - first)
        # No variable refers to the plan, so that its memory is free before the next plan.
        yield from encoded(
            masking.examples(generator, tokens, plan(generator, tokens, count, masking.sequence - 3, short))
        )
