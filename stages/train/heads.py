"""Initial values of attention: heads for neighbours, a head that compares two texts, a head that computes means.

The first dimensions of the hidden states are reserved for features that the text does not change: the position, the
segment, the mark of `[CLS]` and `[SEP]`, the match (the output of the comparing head), and a code of the token.

- Two thirds of the heads read positions alone. The query is the key rotated by an offset, so that a head attends to
  the token before, the token after, the second token before, and so on.
- The next head compares. A token attends to tokens with its code in the other segment. Without such a token it attends
  to its own `[CLS]` or `[SEP]`. The match records the result. In a single segment it attends to tokens with its code.
- The next head attends to all tokens alike, so that `[CLS]` has the share of matches after the second layer. Before
  training, this share correlates with the similarities of 400 pairs of JSTS at 0.46 after two of four layers, and at
  0.65 after all.
- The other heads are random.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from transformers import AlbertConfig

# The offsets of the neighbour heads, in the order of the heads.
OFFSETS = (-1, 1, -2, 2, -3, 3, 0, -4)
# Frequencies of the positions, in radians per token: from a period of the longest sequence to one of three tokens.
FREQUENCIES, SLOWEST, FASTEST = 13, 0.012, 2.2
# The gains below are for heads of 26 dimensions.
WIDTH = 26
# The gain of positions in queries and keys. The right neighbour gets 0.98 of the attention.
POSITION_GAIN = 1.8
# The gains of codes, segments, and the marks of `[CLS]` and `[SEP]` in the comparing head. A token of the other text
# gets 0.98 of the attention of its equal. A token without an equal gives 0.16 to other tokens.
CODE_GAIN, SEGMENT_GAIN, SPECIAL_GAIN = 2.5, 2.2, 4.3
# The match of a token is 1, less this value per unit of the mark. `[CLS]` and `[SEP]` have a mark of about 2.
SPECIAL_PENALTY = 0.7
# The gain of the random queries and keys of the head that computes means.
MEAN_GAIN = 0.1


@dataclass(frozen=True)
class Layout:
    """The reserved dimensions, and the heads that use them.

    Hidden states: `positions`, one each for `segment`, `special` and `match`, then the codes. Embeddings have the same
    without `match`.
    """

    positions: int
    width: int  # of a head
    heads: int
    codes: int  # 16 signs: two of 6,144 tokens have equal codes by chance once in 65,536

    @classmethod
    def of(cls, config: AlbertConfig) -> Layout:
        width = config.hidden_size // config.num_attention_heads
        frequencies = max(1, min(FREQUENCIES, width // 2, config.embedding_size // 4))
        codes = min(width - 2, config.embedding_size // 8)
        return cls(2 * frequencies, width, config.num_attention_heads, codes)

    @property
    def angles(self) -> Tensor:
        """Radians per token of each frequency: float64 (positions / 2,)."""
        return torch.from_numpy(np.geomspace(SLOWEST, FASTEST, self.positions // 2))

    @property
    def segment(self) -> int:
        return self.positions

    @property
    def special(self) -> int:
        return self.positions + 1

    @property
    def match(self) -> int:
        return self.positions + 2

    @property
    def embedding_codes(self) -> slice:
        return slice(self.positions + 2, self.positions + 2 + self.codes)

    @property
    def hidden_codes(self) -> slice:
        return slice(self.positions + 3, self.positions + 3 + self.codes)

    @property
    def neighbour_heads(self) -> int:
        """The number of heads for neighbours. It is also the index of the comparing head."""
        return min(len(OFFSETS), round(self.heads * 2 / 3))

    @property
    def compares(self) -> bool:
        """Whether there are heads for the comparison and the means, and dimensions for the codes."""
        return self.neighbour_heads + 1 < self.heads and self.codes > 0

    def rows(self, head: int) -> slice:
        return slice(head * self.width, (head + 1) * self.width)


def initialize_heads(attention: torch.nn.Module, layout: Layout, generator: torch.Generator) -> None:
    """Set query, key, value and output of a layer."""
    for matrix in (attention.value.weight, attention.dense.weight):
        matrix.copy_(torch.randn(matrix.shape, generator=generator) * len(matrix) ** -0.5)
    attention.value.weight[:, : layout.match + 1] = 0
    attention.dense.weight[: layout.match + 1] = 0
    for head, offset in enumerate(OFFSETS[: layout.neighbour_heads]):
        _set_neighbour_head(attention, layout, head, offset)
    if layout.compares:
        _set_comparing_head(attention, layout, layout.neighbour_heads)
        _set_mean_head(attention, layout, layout.neighbour_heads + 1)


def _set_neighbour_head(attention: torch.nn.Module, layout: Layout, head: int, offset: int) -> None:
    even, odd = torch.arange(0, layout.positions, 2), torch.arange(1, layout.positions, 2)
    rotation = layout.angles * offset
    query, key = torch.zeros(2, layout.width, attention.query.weight.shape[1], dtype=torch.float64)
    key[even, even] = key[odd, odd] = 1.0
    # At position p the query is (sin, cos) of the position p + offset.
    query[even, even] = query[odd, odd] = rotation.cos()
    query[even, odd], query[odd, even] = rotation.sin(), -rotation.sin()
    gain = POSITION_GAIN * (layout.width / WIDTH) ** 0.25
    attention.query.weight[layout.rows(head)] = (query * gain).float()
    attention.key.weight[layout.rows(head)] = (key * gain).float()


def _set_comparing_head(attention: torch.nn.Module, layout: Layout, head: int) -> None:
    rows, first = layout.rows(head), head * layout.width
    last = first + layout.width - 1
    scale = (layout.width / WIDTH) ** 0.25
    for layer, sign in ((attention.query, -1), (attention.key, 1)):
        layer.weight[rows] = 0
        layer.weight[first : first + layout.codes, layout.hidden_codes] = torch.eye(layout.codes) * CODE_GAIN * scale
        layer.weight[last - 1, layout.segment] = sign * SEGMENT_GAIN * scale
    attention.query.bias[last] = SPECIAL_GAIN * scale
    attention.key.weight[last, layout.special] = SPECIAL_GAIN * scale
    attention.value.weight[first] = 0
    attention.value.weight[first, layout.special] = -SPECIAL_PENALTY
    attention.value.bias[first] = 1.0
    attention.dense.weight[:, first] = 0
    attention.dense.weight[layout.match, first] = 1.0


def _set_mean_head(attention: torch.nn.Module, layout: Layout, head: int) -> None:
    first = head * layout.width
    for layer in (attention.query, attention.key):
        layer.weight[layout.rows(head)] *= MEAN_GAIN
    attention.value.weight[first] = 0
    attention.value.weight[first, layout.match] = 1.0
    attention.dense.weight[:, first] = 0
    attention.dense.weight[layout.match, first] = 1.0
