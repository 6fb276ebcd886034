"""A new ALBERT and the counts of its training text → initial values that know where neighbours and equals are.

A masked language model must first find out, from learned positions, how to look at the tokens beside the mask; until
then it can only count. A task on two texts must find out how to compare them. These values give it both: ALBERT loads
them like any others, and nothing else differs.

- The first dimensions of the position embeddings are sines and cosines; two more tell the segments apart, and `[CLS]`
  and `[SEP]` from the rest; the next ones are a code of each token, signs that are drawn. The mapping into the hidden
  states carries all these over unchanged. Most heads attend by them: see heads.py.
- The other dimensions of the token embeddings are the singular vectors of the positive pointwise mutual information of
  neighbours, left and right, so that tokens which stand in like places begin alike.
- The decoder's bias is the logarithm of the tokens' frequencies.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import AlbertForPreTraining

from stages.formats.decoding import Chunk
from stages.formats.windows import CLS, MASK, SEP
from stages.train.heads import Room, aim_heads

# Of the sines and cosines; of what tells segments and special tokens apart.
AMPLITUDE, MARK = 0.04, 0.06
# Of token embeddings in the positions' dimensions, against the others.
DAMPED = 0.3
# Standard deviation of the token embeddings, as initializer_range; tokens of the text that are counted.
DEVIATION, COUNTED = 0.02, 8_000_000
# The deviation of a standard normal distribution that is cut off at two deviations, as the drawn values are.
CUT_OFF = 0.88
# The exponent of the right neighbours' frequencies, which keeps rare ones from standing out (Levy 2015).
SMOOTHING = 0.75


class Counts:
    """How often tokens, and pairs of neighbours, stand in a text."""

    def __init__(self, entries: int) -> None:
        self.entries = entries
        self.tokens = np.zeros(entries, np.int64)
        self.pairs: NDArray[np.int64] = np.empty(0, np.int64)  # left * entries + right, in order
        self.times: NDArray[np.int64] = np.empty(0, np.int64)  # of each pair

    def add(self, text: NDArray[np.int32]) -> None:
        """Count a text. `[SEP]` stands between its parts, and is no neighbour."""
        self.tokens += np.bincount(text, minlength=self.entries)
        left, right = text[:-1].astype(np.int64), text[1:].astype(np.int64)
        inside = (left != SEP) & (right != SEP)
        pairs, times = np.unique(left[inside] * self.entries + right[inside], return_counts=True)
        both = np.concatenate([self.pairs, pairs])
        self.pairs, places = np.unique(both, return_inverse=True)
        weights = np.concatenate([self.times, times]).astype(np.float64)
        self.times = np.bincount(places, weights, len(self.pairs)).astype(np.int64)


def counted(examples: Iterable[Chunk], entries: int, most: int = COUNTED) -> Counts:
    """The counts of whole examples, until `most` tokens were seen."""
    counts = Counts(entries)
    parts: list[NDArray[np.int32]] = []
    size = 0
    for chunk in examples:
        parts.append(chunk.ids[(chunk.mask > 0) & (chunk.ids != CLS)])
        size += len(parts[-1])
        if size >= most:
            break
    if parts:
        counts.add(np.concatenate(parts))
    counts.tokens[[SEP, CLS, MASK]] = 0
    return counts


def neighbour_start(model: AlbertForPreTraining, counts: Counts, seed: int) -> None:
    """Give a new model these initial values. Parameters that are not named above keep theirs."""
    config = model.config
    room = Room.of(config)
    generator = torch.Generator().manual_seed(seed)
    embeddings, encoder = model.albert.embeddings, model.albert.encoder
    words, segments = embeddings.word_embeddings.weight, embeddings.token_type_embeddings.weight
    with torch.no_grad():
        positions = torch.zeros(config.max_position_embeddings, config.embedding_size, dtype=torch.float64)
        turns = torch.arange(config.max_position_embeddings)[:, None] * room.angles
        positions[:, 0 : room.positions : 2] = turns.sin() * AMPLITUDE
        positions[:, 1 : room.positions : 2] = turns.cos() * AMPLITUDE
        embeddings.position_embeddings.weight.copy_(positions)
        _place_tokens(words, counts, room.embedded.stop, seed)
        words[:, : room.positions] *= DAMPED
        words[:, room.positions : room.embedded.start] = 0
        signs = torch.randn(len(words), room.codes, generator=generator).sign()
        signs[[CLS, SEP, MASK]] = 0
        words[:, room.embedded] = signs * DEVIATION * CUT_OFF
        segments.zero_()
        segments[:, room.segment] = torch.tensor([-MARK, MARK])
        words[[CLS, SEP], room.special] = MARK
        mapping = encoder.embedding_hidden_mapping_in.weight
        mapping.zero_()
        mapping[: room.found, : room.found] = torch.eye(room.found)
        mapping[room.hidden, room.embedded] = torch.eye(room.codes)
        rest = mapping[room.hidden.stop :, room.embedded.start :]
        rest.copy_(torch.randn(rest.shape, generator=generator) * config.embedding_size**-0.5)
        for group in encoder.albert_layer_groups:
            for layer in group.albert_layers:
                aim_heads(layer.attention, room, generator)
        seen = counts.tokens.astype(np.float64)
        model.predictions.bias.copy_(torch.from_numpy(np.log((seen + 1) / (seen.sum() + len(seen)))))


def _place_tokens(table: Tensor, counts: Counts, own: int, seed: int) -> None:
    """Token embeddings from the neighbours: half of the dimensions behind `own` of the left ones, half of the right."""
    half = (table.shape[1] - own) // 2
    if not len(counts.pairs) or half < 1:
        return
    left, right = np.divmod(counts.pairs, counts.entries)
    times = counts.times.astype(np.float64)
    of_left = np.bincount(left, times, counts.entries)
    of_right = np.bincount(right, times, counts.entries) ** SMOOTHING
    of_right *= times.sum() / of_right.sum()
    information = np.log(times * times.sum() / (of_left[left] * of_right[right]))
    places = torch.from_numpy(np.stack([left, right])[:, information > 0])
    values = torch.from_numpy(information[information > 0]).float()
    matrix = torch.sparse_coo_tensor(places, values, (counts.entries, counts.entries), check_invariants=False)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        u, s, v = torch.svd_lowrank(matrix.coalesce(), min(half + 8, counts.entries), niter=4)
    found = torch.cat([part[:, :half] * s[:half].sqrt() for part in (u, v)], 1)
    scale = found.square().mean(1, keepdim=True).sqrt()
    known = (scale[:, 0] > 1e-6).nonzero()[:, 0]
    vectors = found[known] / scale[known] * (DEVIATION * CUT_OFF)
    table[known, own : own + vectors.shape[1]] = vectors
