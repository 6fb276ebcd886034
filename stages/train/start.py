"""A new ALBERT and the counts of its training text → initial values for neighbours and comparison.

From random values, a masked language model first has to learn from positions where the neighbours of the mask are.
Until then it can only count. A task on two texts has to learn how to compare them. These initial values do both.
ALBERT loads them like any others, and nothing else differs.

- The first dimensions hold features that the text does not change: sines and cosines of the position, the segment, the
  mark of `[CLS]` and `[SEP]`, and a code of each token: random signs. The mapping into the hidden states copies them.
- The other dimensions of the token embeddings are the singular vectors, left and right, of the positive pointwise
  mutual information of neighbours. Tokens in similar contexts get similar vectors.
- The decoder's bias is the logarithm of the token frequencies.
- Two thirds of the heads read positions alone. The query is the key rotated by an offset, so that a head attends to
  the token before, the token after, the second token before, and so on.
- The next head compares. A token attends to tokens with its code in the other segment. Without such a token it attends
  to its own `[CLS]` or `[SEP]`. The match, a dimension of the hidden states, records the result. In a single segment
  it attends to tokens with its code.
- The next head attends to all tokens alike, so that `[CLS]` has the share of matches after the second layer. Before
  training, this share correlates with the similarities of 400 pairs of JSTS at 0.46 after two of four layers, and at
  0.65 after all.
- The other heads are random.

Pretraining does not need the comparing head and destroys it within 800 steps (README.md). So it is frozen, with all
that it reads: no step changes its queries and keys, two rows of values with their output columns, and the dimensions
that these read. Everything else learns. Codes and marks grow with the token embeddings, so that the layer normalisation
leaves their share unchanged.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import AlbertConfig, AlbertForPreTraining

from stages.formats.windows import CLS, MASK, SEP

# The amplitude of the sines and cosines, and of the marks of segments and special tokens.
AMPLITUDE, MARK = 0.04, 0.06
# The scale of token embeddings in the dimensions of the positions.
DAMPING = 0.3
# The standard deviation of the token embeddings, as initializer_range.
DEVIATION = 0.02
# The deviation of a standard normal distribution that is truncated at two deviations.
CUT_OFF = 0.88
# The exponent of the right neighbours' frequencies. It reduces the information of rare ones (Levy 2015).
SMOOTHING = 0.75
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
ALL = slice(None)


class Layout:
    """The reserved dimensions, and the heads that use them.

    Hidden states: `positions`, one each for `segment`, `special` and `match`, then the codes. Embeddings have the same
    without `match`.
    """

    def __init__(self, config: AlbertConfig) -> None:
        heads = config.num_attention_heads
        self.width = config.hidden_size // heads  # of a head
        frequencies = max(1, min(FREQUENCIES, self.width // 2, config.embedding_size // 4))
        # Radians per token of each frequency.
        self.angles = torch.from_numpy(np.geomspace(SLOWEST, FASTEST, frequencies))
        self.positions = 2 * frequencies
        self.segment, self.special, self.match = range(self.positions, self.positions + 3)
        # 16 signs: two of 6,144 tokens have equal codes by chance once in 65,536.
        self.codes = min(self.width - 2, config.embedding_size // 8)
        self.embedding_codes = slice(self.match, self.match + self.codes)
        self.hidden_codes = slice(self.match + 1, self.match + 1 + self.codes)
        # The number of heads for neighbours. It is also the index of the comparing head.
        self.neighbour_heads = min(len(OFFSETS), round(heads * 2 / 3))
        # Whether there are heads for the comparison and the means, and dimensions for the codes.
        self.compares = self.neighbour_heads + 1 < heads and self.codes > 0

    def rows(self, head: int) -> slice:
        return slice(head * self.width, (head + 1) * self.width)


@torch.no_grad()  # type: ignore[untyped-decorator]
def neighbour_start(model: AlbertForPreTraining, text: NDArray[np.int32], seed: int) -> None:
    """Set these initial values in a new model. All other parameters stay as they are.

    `text`: the ids of texts, with `[SEP]` between them.
    """
    config = model.config
    layout = Layout(config)
    generator = torch.Generator().manual_seed(seed)
    embeddings, encoder = model.albert.embeddings, model.albert.encoder
    words, segments = embeddings.word_embeddings.weight, embeddings.token_type_embeddings.weight
    positions = torch.zeros(config.max_position_embeddings, config.embedding_size, dtype=torch.float64)
    angles = torch.arange(config.max_position_embeddings)[:, None] * layout.angles
    positions[:, 0 : layout.positions : 2] = angles.sin() * AMPLITUDE
    positions[:, 1 : layout.positions : 2] = angles.cos() * AMPLITUDE
    embeddings.position_embeddings.weight.copy_(positions)
    _set_token_embeddings(words, text, layout.embedding_codes.stop, seed)
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
            _set_heads(layer.attention, layout, generator)
    tokens = np.bincount(text, minlength=len(words)).astype(np.float64)
    tokens[[SEP, CLS, MASK]] = 0
    model.predictions.bias.copy_(torch.from_numpy(np.log((tokens + 1) / (tokens.sum() + len(tokens)))))


def _set_token_embeddings(table: Tensor, text: NDArray[np.int32], reserved: int, seed: int) -> None:
    """Set the dimensions after the `reserved` ones: one half by the right neighbours, one half by the left ones."""
    entries, half = len(table), (table.shape[1] - reserved) // 2
    left, right = text[:-1].astype(np.int64), text[1:].astype(np.int64)
    inside = (left != SEP) & (right != SEP)
    pairs, counts = np.unique(left[inside] * entries + right[inside], return_counts=True)
    if not len(pairs) or half < 1:
        return
    left, right = np.divmod(pairs, entries)
    pair_counts = counts.astype(np.float64)
    left_counts = np.bincount(left, pair_counts, entries)
    right_counts = np.bincount(right, pair_counts, entries) ** SMOOTHING
    right_counts *= pair_counts.sum() / right_counts.sum()
    information = np.log(pair_counts * pair_counts.sum() / (left_counts[left] * right_counts[right]))
    indices = torch.from_numpy(np.stack([left, right])[:, information > 0])
    values = torch.from_numpy(information[information > 0]).float()
    matrix = torch.sparse_coo_tensor(indices, values, (entries, entries), check_invariants=False)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        u, s, v = torch.svd_lowrank(matrix.coalesce(), min(half + 8, entries), niter=4)
    vectors = torch.cat([part[:, :half] * s[:half].sqrt() for part in (u, v)], 1)
    scale = vectors.square().mean(1, keepdim=True).sqrt()
    present = (scale[:, 0] > 1e-6).nonzero()[:, 0]
    vectors = vectors[present] / scale[present] * (DEVIATION * CUT_OFF)
    table[present, reserved : reserved + vectors.shape[1]] = vectors


def _set_heads(attention: torch.nn.Module, layout: Layout, generator: torch.Generator) -> None:
    """Set query, key, value and output of a layer."""
    query, key, value, output = attention.query, attention.key, attention.value, attention.dense
    for matrix in (value.weight, output.weight):
        matrix.copy_(torch.randn(matrix.shape, generator=generator) * len(matrix) ** -0.5)
    value.weight[:, : layout.match + 1] = 0
    output.weight[: layout.match + 1] = 0
    scale = (layout.width / WIDTH) ** 0.25

    even, odd = torch.arange(0, layout.positions, 2), torch.arange(1, layout.positions, 2)
    for head, offset in enumerate(OFFSETS[: layout.neighbour_heads]):
        rotation = layout.angles * offset
        queries, keys = torch.zeros(2, layout.width, query.weight.shape[1], dtype=torch.float64)
        keys[even, even] = keys[odd, odd] = 1.0
        # At position p the query is (sin, cos) of the position p + offset.
        queries[even, even] = queries[odd, odd] = rotation.cos()
        queries[even, odd], queries[odd, even] = rotation.sin(), -rotation.sin()
        for layer, rows in ((query, queries), (key, keys)):
            layer.weight[layout.rows(head)] = (rows * (POSITION_GAIN * scale)).float()
    if not layout.compares:
        return

    comparing, mean = layout.rows(layout.neighbour_heads), layout.rows(layout.neighbour_heads + 1)
    first, last = comparing.start, comparing.stop - 1
    for layer, sign in ((query, -1), (key, 1)):
        layer.weight[comparing] = 0
        layer.weight[first : first + layout.codes, layout.hidden_codes] = torch.eye(layout.codes) * CODE_GAIN * scale
        layer.weight[last - 1, layout.segment] = sign * SEGMENT_GAIN * scale
        layer.weight[mean] *= MEAN_GAIN
    query.bias[last] = SPECIAL_GAIN * scale
    key.weight[last, layout.special] = SPECIAL_GAIN * scale
    value.bias[first] = 1.0
    # Both write the match: the comparing head by the mark, the mean head by the match of all tokens.
    for row, column, weight in ((first, layout.special, -SPECIAL_PENALTY), (mean.start, layout.match, 1.0)):
        value.weight[row] = 0
        value.weight[row, column] = weight
        output.weight[:, row] = 0
        output.weight[layout.match, row] = 1.0


@contextlib.contextmanager
def frozen(model: AlbertForPreTraining) -> Iterator[None]:
    """Leave the frozen parts unchanged while an optimizer steps. A model without the comparing head has none."""
    kept = [(parameter, index, parameter.detach()[index].clone()) for parameter, index in parts(model)]
    for parameter, index, _ in kept:
        # Gradients here would change Muon's update of the other values.
        assert parameter.grad is not None
        parameter.grad[index] = 0
    yield
    for parameter, index, values in kept:
        parameter.detach()[index] = values
    if kept:
        # Scale codes and marks to the present size of the other dimensions.
        layout, embeddings = Layout(model.config), model.albert.embeddings
        words, segments = embeddings.word_embeddings.weight.detach(), embeddings.token_type_embeddings.weight.detach()
        sizes = words[:, layout.embedding_codes.stop :].square().mean(1, keepdim=True).sqrt()
        words[:, layout.embedding_codes] = words[:, layout.embedding_codes].sign() * sizes
        mark = sizes.mean() * (MARK / (DEVIATION * CUT_OFF))
        for table, column in ((segments, layout.segment), (words, layout.special)):
            table[:, column] = table[:, column].sign() * mark


def parts(model: AlbertForPreTraining) -> list[tuple[Tensor, Any]]:
    """The frozen parameters and indices into them."""
    layout = Layout(model.config)
    if not layout.compares:
        return []
    embeddings, encoder = model.albert.embeddings, model.albert.encoder
    layers = [layer for group in encoder.albert_layer_groups for layer in group.albert_layers]
    head = layout.rows(layout.neighbour_heads)
    # The queries of a comparing head read the codes and the segment, and nothing else.
    expected = torch.zeros(model.config.hidden_size, dtype=torch.bool)
    expected[layout.hidden_codes] = expected[layout.segment] = True
    if not all(torch.equal(layer.attention.query.weight[head].ne(0).any(0).cpu(), expected) for layer in layers):
        return []
    mapping, reserved = encoder.embedding_hidden_mapping_in, slice(0, layout.match + 1)
    embedding_marks = slice(layout.positions, layout.embedding_codes.stop)
    hidden_marks = slice(layout.positions, layout.hidden_codes.stop)
    frozen: list[tuple[Tensor, Any]] = [
        (embeddings.word_embeddings.weight, (ALL, embedding_marks)),
        (embeddings.token_type_embeddings.weight, ALL),
        (embeddings.LayerNorm.weight, embedding_marks),
        (embeddings.LayerNorm.bias, embedding_marks),
        (mapping.weight, slice(0, layout.hidden_codes.stop)),
        (mapping.bias, slice(0, layout.hidden_codes.stop)),
    ]
    for layer in layers:
        attention = layer.attention
        for part in (attention.query, attention.key):
            frozen += [(part.weight, head), (part.bias, head)]
        for row in (head.start, head.stop):  # the first row of the comparing head and of the mean head
            frozen += [(attention.value.weight, row), (attention.value.bias, row), (attention.dense.weight, (ALL, row))]
        frozen += [(attention.value.weight, (ALL, reserved)), (attention.dense.weight, reserved)]
        frozen += [(attention.dense.bias, reserved)]
        frozen += [(layer.ffn_output.weight, layout.match), (layer.ffn_output.bias, layout.match)]
        for norm in (attention.LayerNorm, layer.full_layer_layer_norm):
            frozen += [(norm.weight, hidden_marks), (norm.bias, hidden_marks)]
    return frozen
