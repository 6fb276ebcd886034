"""A block's tokens → its examples as TFRecords, with memory that does not grow with the copies."""

from collections.abc import Iterator

import numpy as np
from numpy.random import BitGenerator
from numpy.typing import NDArray

from stages.formats.encoding import encoded
from stages.formats.examples import Masking, Tokens, plan

# The longest plan: 60 MB. A block has some 25,000 sentences, and at most as many instances a copy: the published 40
# copies are planned, and shuffled, together. They are far fewer instances, and take 5 MB.
ROWS = 1_500_000


def records(
    generator: BitGenerator, tokens: Tokens, masking: Masking, copies: int, short: float, rows: int = ROWS
) -> Iterator[NDArray[np.uint8]]:
    """The TFRecords of `copies` passes over a block, a batch at a time, each in the memory of the last.

    As many copies are shuffled together as a plan of `rows` is sure to hold, and at least one.
    """
    sentences = len(tokens.sentences) - 1
    copies_a_plan = max(1, rows // max(1, sentences))
    for first in range(0, copies, copies_a_plan):
        planned = min(copies_a_plan, copies - first)
        # No name holds the plan, so that it is gone when the next one is made.
        yield from encoded(
            masking.examples(generator, tokens, plan(generator, tokens, planned, masking.sequence - 3, short))
        )
