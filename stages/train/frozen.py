"""The frozen parts of a model: the head that compares two texts and all that it reads.

Pretraining does not need them and destroys them within 800 steps (README.md). No step changes the queries and keys of
the comparing head, two rows of values with their output columns, and the dimensions that these read. Everything else
learns. Codes and marks grow with the token embeddings, so that the layer normalisation leaves their share unchanged.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from transformers import AlbertForPreTraining

from stages.train.start import CUT_OFF, DEVIATION, MARK, Layout

ALL = slice(None)


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
    embeddings, encoder = model.albert.embeddings, model.albert.encoder
    layers = [layer for group in encoder.albert_layer_groups for layer in group.albert_layers]
    if not (layout.compares and all(_compares(layer.attention, layout) for layer in layers)):
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
    head = layout.rows(layout.neighbour_heads)
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


def _compares(attention: torch.nn.Module, layout: Layout) -> bool:
    """Whether the comparing head's queries read the codes and the segment, and nothing else."""
    expected = torch.zeros(attention.query.weight.shape[1], dtype=torch.bool)
    expected[layout.hidden_codes] = expected[layout.segment] = True
    columns = attention.query.weight[layout.rows(layout.neighbour_heads)].ne(0).any(0)
    return bool(torch.equal(columns.cpu(), expected))
