"""A new ALBERT and the counts of its training text → initial values that know where a token's neighbours are.

A masked language model must first find out, from learned positions, how to look at the tokens beside the mask; until
then it can only count. These values give it that: ALBERT loads them like any others, and nothing else differs.

- The first dimensions of the position embeddings are sines and cosines; the mapping into the hidden states carries them
  over unchanged, and no value or output matrix writes or reads them.
- In two thirds of the heads query and key read these dimensions alone, turned against each other by the angles of an
  offset, so that a head attends to the token one before, one behind, two before, and so on.
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

from stages.tfrecords.decoding import Chunk
from stages.train.windows import CLS, MASK, SEP

# Offsets of the heads, in this order, from the first head on.
OFFSETS = (-1, 1, -2, 2, -3, 3, 0, -4)
# Frequencies of the positions, in radians a token: from a period of the longest sequence to one of three tokens.
FREQUENCIES, SLOWEST, FASTEST = 13, 0.012, 2.2
AMPLITUDE = 0.04
# Scale of queries and keys where a head has 26 dimensions: the right neighbour then has 0.98 of the attention.
GAIN, GAIN_WIDTH = 1.8, 26
# Of token embeddings in the positions' dimensions, against the others.
DAMPED = 0.3
# Standard deviation of the token embeddings, as initializer_range; tokens of the text that are counted.
DEVIATION, COUNTED = 0.02, 8_000_000
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
    width = config.hidden_size // config.num_attention_heads
    frequencies = max(1, min(FREQUENCIES, width // 2, config.embedding_size // 4))
    own = 2 * frequencies  # dimensions of the positions
    generator = torch.Generator().manual_seed(seed)
    embeddings, encoder = model.albert.embeddings, model.albert.encoder
    angles = torch.from_numpy(np.geomspace(SLOWEST, FASTEST, frequencies))
    with torch.no_grad():
        positions = torch.zeros(config.max_position_embeddings, config.embedding_size, dtype=torch.float64)
        turns = torch.arange(config.max_position_embeddings)[:, None] * angles
        positions[:, 0:own:2], positions[:, 1:own:2] = turns.sin() * AMPLITUDE, turns.cos() * AMPLITUDE
        embeddings.position_embeddings.weight.copy_(positions)
        _place_tokens(embeddings.word_embeddings.weight, counts, own, seed)
        for table in (embeddings.word_embeddings, embeddings.token_type_embeddings):
            table.weight[:, :own] *= DAMPED
        mapping = encoder.embedding_hidden_mapping_in.weight
        mapping.zero_()
        mapping[:own, :own] = torch.eye(own)
        rest = mapping[own:, own:]
        rest.copy_(torch.randn(rest.shape, generator=generator) * config.embedding_size**-0.5)
        for group in encoder.albert_layer_groups:
            for layer in group.albert_layers:
                _aim_heads(layer.attention, angles, width, generator)
        seen = counts.tokens.astype(np.float64)
        model.predictions.bias.copy_(torch.from_numpy(np.log((seen + 1) / (seen.sum() + len(seen)))))


def _aim_heads(attention: torch.nn.Module, angles: Tensor, width: int, generator: torch.Generator) -> None:
    """Query, key, value and output of a layer: two thirds of its heads look at neighbours."""
    own, hidden = 2 * len(angles), attention.query.weight.shape[1]
    gain = GAIN * (width / GAIN_WIDTH) ** 0.25
    for matrix in (attention.value.weight, attention.dense.weight):
        matrix.copy_(torch.randn(matrix.shape, generator=generator) * hidden**-0.5)
    attention.value.weight[:, :own] = 0
    attention.dense.weight[:own] = 0
    even, odd = torch.arange(0, own, 2), torch.arange(1, own, 2)
    for head, offset in zip(range(round(attention.num_attention_heads * 2 / 3)), OFFSETS, strict=False):
        query, key = torch.zeros(2, width, hidden, dtype=torch.float64)
        key[even, even] = key[odd, odd] = 1.0
        # At position p the query is (sin, cos) of the position p + offset.
        query[even, even] = query[odd, odd] = (angles * offset).cos()
        query[even, odd], query[odd, even] = (angles * offset).sin(), -(angles * offset).sin()
        rows = slice(head * width, (head + 1) * width)
        attention.query.weight[rows] = (query * gain).float()
        attention.key.weight[rows] = (key * gain).float()


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
    # 0.88: the deviation of a normal distribution that is cut off at two deviations, as the others are.
    vectors = found[known] / scale[known] * (DEVIATION * 0.88)
    table[known, own : own + vectors.shape[1]] = vectors
