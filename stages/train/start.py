"""A new ALBERT and the counts of its training text → initial values for neighbours and comparison.

From random values, a masked language model first has to learn from positions where the neighbours of the mask are.
Until then it can only count. A task on two texts has to learn how to compare them. These initial values do both.
ALBERT loads them like any others, and nothing else differs.

- The first dimensions of the position embeddings are sines and cosines. Two more mark the segments, and `[CLS]` and
  `[SEP]`. The next ones are a code of each token: random signs. The mapping into the hidden states copies all of them.
  Most heads read them: see heads.py.
- The other dimensions of the token embeddings are the singular vectors, left and right, of the positive pointwise
  mutual information of neighbours. Tokens in similar contexts get similar vectors.
- The decoder's bias is the logarithm of the token frequencies.
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
from stages.train.heads import Layout, initialize_heads

# The amplitude of the sines and cosines, and of the marks of segments and special tokens.
AMPLITUDE, MARK = 0.04, 0.06
# The scale of token embeddings in the dimensions of the positions.
DAMPING = 0.3
# The standard deviation of the token embeddings, as initializer_range. The number of tokens to count.
DEVIATION, COUNTED = 0.02, 8_000_000
# The deviation of a standard normal distribution that is truncated at two deviations.
CUT_OFF = 0.88
# The exponent of the right neighbours' frequencies. It reduces the information of rare ones (Levy 2015).
SMOOTHING = 0.75


class Counts:
    """The frequencies of tokens and of pairs of neighbours."""

    def __init__(self, entries: int) -> None:
        self.entries = entries
        self.tokens = np.zeros(entries, np.int64)
        self.pairs: NDArray[np.int64] = np.empty(0, np.int64)  # left * entries + right, in order
        self.pair_counts: NDArray[np.int64] = np.empty(0, np.int64)

    def add(self, text: NDArray[np.int32]) -> None:
        """Count a text. `[SEP]` separates its parts and is no neighbour."""
        self.tokens += np.bincount(text, minlength=self.entries)
        left, right = text[:-1].astype(np.int64), text[1:].astype(np.int64)
        inside = (left != SEP) & (right != SEP)
        pairs, counts = np.unique(left[inside] * self.entries + right[inside], return_counts=True)
        self.pairs, indices = np.unique(np.concatenate([self.pairs, pairs]), return_inverse=True)
        weights = np.concatenate([self.pair_counts, counts]).astype(np.float64)
        self.pair_counts = np.bincount(indices, weights, len(self.pairs)).astype(np.int64)


def count_neighbours(examples: Iterable[Chunk], entries: int, limit: int = COUNTED) -> Counts:
    """The counts of whole examples, up to the one that reaches `limit` tokens."""
    counts = Counts(entries)
    texts: list[NDArray[np.int32]] = []
    size = 0
    for chunk in examples:
        texts.append(chunk.ids[(chunk.mask > 0) & (chunk.ids != CLS)])
        size += len(texts[-1])
        if size >= limit:
            break
    if texts:
        counts.add(np.concatenate(texts))
    counts.tokens[[SEP, CLS, MASK]] = 0
    return counts


def neighbour_start(model: AlbertForPreTraining, counts: Counts, seed: int) -> None:
    """Set these initial values in a new model. All other parameters stay as they are."""
    config = model.config
    layout = Layout.of(config)
    generator = torch.Generator().manual_seed(seed)
    embeddings, encoder = model.albert.embeddings, model.albert.encoder
    words, segments = embeddings.word_embeddings.weight, embeddings.token_type_embeddings.weight
    with torch.no_grad():
        positions = torch.zeros(config.max_position_embeddings, config.embedding_size, dtype=torch.float64)
        angles = torch.arange(config.max_position_embeddings)[:, None] * layout.angles
        positions[:, 0 : layout.positions : 2] = angles.sin() * AMPLITUDE
        positions[:, 1 : layout.positions : 2] = angles.cos() * AMPLITUDE
        embeddings.position_embeddings.weight.copy_(positions)
        _set_token_embeddings(words, counts, layout.embedding_codes.stop, seed)
        words[:, : layout.positions] *= DAMPING
        words[:, layout.positions : layout.embedding_codes.start] = 0
        signs = torch.randn(len(words), layout.codes, generator=generator).sign()
        signs[[CLS, SEP, MASK]] = 0
        words[:, layout.embedding_codes] = signs * DEVIATION * CUT_OFF
        segments.zero_()
        segments[:, layout.segment] = torch.tensor([-MARK, MARK])
        words[[CLS, SEP], layout.special] = MARK
        mapping = encoder.embedding_hidden_mapping_in.weight
        mapping.zero_()
        mapping[: layout.match, : layout.match] = torch.eye(layout.match)
        mapping[layout.hidden_codes, layout.embedding_codes] = torch.eye(layout.codes)
        rest = mapping[layout.hidden_codes.stop :, layout.embedding_codes.start :]
        rest.copy_(torch.randn(rest.shape, generator=generator) * config.embedding_size**-0.5)
        for group in encoder.albert_layer_groups:
            for layer in group.albert_layers:
                initialize_heads(layer.attention, layout, generator)
        tokens = counts.tokens.astype(np.float64)
        model.predictions.bias.copy_(torch.from_numpy(np.log((tokens + 1) / (tokens.sum() + len(tokens)))))


def _set_token_embeddings(table: Tensor, counts: Counts, reserved: int, seed: int) -> None:
    """Set the dimensions after the `reserved` ones: one half by the right neighbours, one half by the left ones."""
    half = (table.shape[1] - reserved) // 2
    if not len(counts.pairs) or half < 1:
        return
    left, right = np.divmod(counts.pairs, counts.entries)
    pair_counts = counts.pair_counts.astype(np.float64)
    left_counts = np.bincount(left, pair_counts, counts.entries)
    right_counts = np.bincount(right, pair_counts, counts.entries) ** SMOOTHING
    right_counts *= pair_counts.sum() / right_counts.sum()
    information = np.log(pair_counts * pair_counts.sum() / (left_counts[left] * right_counts[right]))
    indices = torch.from_numpy(np.stack([left, right])[:, information > 0])
    values = torch.from_numpy(information[information > 0]).float()
    matrix = torch.sparse_coo_tensor(indices, values, (counts.entries, counts.entries), check_invariants=False)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        u, s, v = torch.svd_lowrank(matrix.coalesce(), min(half + 8, counts.entries), niter=4)
    vectors = torch.cat([part[:, :half] * s[:half].sqrt() for part in (u, v)], 1)
    scale = vectors.square().mean(1, keepdim=True).sqrt()
    present = (scale[:, 0] > 1e-6).nonzero()[:, 0]
    vectors = vectors[present] / scale[present] * (DEVIATION * CUT_OFF)
    table[present, reserved : reserved + vectors.shape[1]] = vectors
