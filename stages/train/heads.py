"""Initial values of attention: heads that look at the tokens beside them, one compares texts, one takes means.

The first dimensions of the hidden states are kept for what heads must find there whatever the text is about: the
positions, the segment, whether a token is `[CLS]` or `[SEP]`, what the comparing head has found, and a token's code.

- Two thirds of the heads read the positions alone, the query turned against the key by the angles of an offset, so
  that a head attends to the token one before, one behind, two before, and so on.
- The next one compares: a token attends to those of the same code in the other segment or, where none is, to its
  `[CLS]` or `[SEP]`. That a token was found is written down. In a single segment it attends to itself and its like.
- The next one attends to all tokens alike, so that `[CLS]` sees in the second layer how much was found in the first.
  Before training, this correlates with the similarities of 400 pairs of JSTS at 0.46 after two of four layers and at
  0.65 after all.
- The others are drawn.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from transformers import AlbertConfig

# Offsets of the heads, in this order, from the first head on.
OFFSETS = (-1, 1, -2, 2, -3, 3, 0, -4)
# Frequencies of the positions, in radians a token: from a period of the longest sequence to one of three tokens.
FREQUENCIES, SLOWEST, FASTEST = 13, 0.012, 2.2
# The scales below are of heads of 26 dimensions.
WIDTH = 26
# Of queries and keys that read positions: the right neighbour then has 0.98 of the attention.
GAIN = 1.8
# Of those that compare: codes, segments, and the constant that draws attention to `[CLS]` and `[SEP]`. A token that
# stands in the other text then has 0.98 of the attention of its like there; one that does not, gives others 0.16.
LIKE, ACROSS, NONE = 2.5, 2.2, 4.3
# What the value of `[CLS]` and `[SEP]` loses of 1, by a unit of their mark, of which they have about 2.
LOST = 0.7
# Of the queries and keys of the head that takes means, against drawn ones.
FLAT = 0.1


@dataclass(frozen=True)
class Room:
    """The dimensions that are kept.

    Of hidden states: `positions`, one each for segment, special tokens and `found`, then `codes`. Embeddings have the
    same, without `found`.
    """

    positions: int
    width: int  # of a head
    heads: int
    codes: int  # 16 signs: two of 6,144 tokens agree in all by chance once in 65,536

    @classmethod
    def of(cls, config: AlbertConfig) -> Room:
        width = config.hidden_size // config.num_attention_heads
        frequencies = max(1, min(FREQUENCIES, width // 2, config.embedding_size // 4))
        codes = min(width - 2, config.embedding_size // 8)
        return cls(2 * frequencies, width, config.num_attention_heads, codes)

    @property
    def angles(self) -> Tensor:
        """Radians a token, of the frequencies: float64."""
        return torch.from_numpy(np.geomspace(SLOWEST, FASTEST, self.positions // 2))

    @property
    def segment(self) -> int:
        return self.positions

    @property
    def special(self) -> int:
        return self.positions + 1

    @property
    def found(self) -> int:
        return self.positions + 2

    @property
    def embedded(self) -> slice:
        """The codes in embeddings."""
        return slice(self.positions + 2, self.positions + 2 + self.codes)

    @property
    def hidden(self) -> slice:
        """The codes in hidden states."""
        return slice(self.positions + 3, self.positions + 3 + self.codes)

    @property
    def aimed(self) -> int:
        """How many heads look at neighbours."""
        return min(len(OFFSETS), round(self.heads * 2 / 3))

    @property
    def compares(self) -> bool:
        """Whether there are heads left to compare and to take means, with room for the codes."""
        return self.aimed + 1 < self.heads and self.codes > 0

    def rows(self, head: int) -> slice:
        return slice(head * self.width, (head + 1) * self.width)


def aim_heads(attention: torch.nn.Module, room: Room, generator: torch.Generator) -> None:
    """Query, key, value and output of a layer."""
    for matrix in (attention.value.weight, attention.dense.weight):
        matrix.copy_(torch.randn(matrix.shape, generator=generator) * len(matrix) ** -0.5)
    attention.value.weight[:, : room.found + 1] = 0
    attention.dense.weight[: room.found + 1] = 0
    for head, offset in enumerate(OFFSETS[: room.aimed]):
        _neighbour(attention, room, head, offset)
    if room.compares:
        _comparing(attention, room, room.aimed)
        _mean(attention, room, room.aimed + 1)


def _neighbour(attention: torch.nn.Module, room: Room, head: int, offset: int) -> None:
    even, odd = torch.arange(0, room.positions, 2), torch.arange(1, room.positions, 2)
    turns = room.angles * offset
    query, key = torch.zeros(2, room.width, attention.query.weight.shape[1], dtype=torch.float64)
    key[even, even] = key[odd, odd] = 1.0
    # At position p the query is (sin, cos) of the position p + offset.
    query[even, even] = query[odd, odd] = turns.cos()
    query[even, odd], query[odd, even] = turns.sin(), -turns.sin()
    gain = GAIN * (room.width / WIDTH) ** 0.25
    attention.query.weight[room.rows(head)] = (query * gain).float()
    attention.key.weight[room.rows(head)] = (key * gain).float()


def _comparing(attention: torch.nn.Module, room: Room, head: int) -> None:
    rows, first = room.rows(head), head * room.width
    last = first + room.width - 1
    wider = (room.width / WIDTH) ** 0.25
    for layer, sign in ((attention.query, -1), (attention.key, 1)):
        layer.weight[rows] = 0
        layer.weight[first : first + room.codes, room.hidden] = torch.eye(room.codes) * LIKE * wider
        layer.weight[last - 1, room.segment] = sign * ACROSS * wider
    attention.query.bias[last] = NONE * wider
    attention.key.weight[last, room.special] = NONE * wider
    attention.value.weight[first] = 0
    attention.value.weight[first, room.special] = -LOST
    attention.value.bias[first] = 1.0
    attention.dense.weight[:, first] = 0
    attention.dense.weight[room.found, first] = 1.0


def _mean(attention: torch.nn.Module, room: Room, head: int) -> None:
    for layer in (attention.query, attention.key):
        layer.weight[room.rows(head)] *= FLAT
    attention.value.weight[head * room.width] = 0
    attention.value.weight[head * room.width, room.found] = 1.0
    attention.dense.weight[:, head * room.width] = 0
    attention.dense.weight[room.found, head * room.width] = 1.0
