"""The frozen parts of a model: the head that compares two texts and all that it reads.

Pretraining does not need them and destroys them within 800 steps (README.md). No step changes the queries and keys of
the comparing head, two rows of values with their output columns, and the dimensions that these read. Everything else
learns. Codes and marks grow with the token embeddings, so that the layer normalisation leaves their share unchanged.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from transformers import AlbertForPreTraining

from stages.train.heads import Layout
from stages.train.start import CUT_OFF, DEVIATION, MARK

Parts = list[tuple[Tensor, Any]]
ALL = slice(None)


class Frozen:
    """The frozen parts of one model. A model without the comparing head has none. The first step looks for them."""

    def __init__(self, model: AlbertForPreTraining) -> None:
        self.model = model
        self.layout = Layout.of(model.config)
        self._parts: Parts | None = None
        self._values: list[Tensor] = []

    def before_step(self) -> None:
        """Keep the values, and zero the gradients, which would change Muon's update of the other values."""
        if self._parts is None:
            self._parts = parts(self.model)
        self._values = [parameter.detach()[index].clone() for parameter, index in self._parts]
        for parameter, index in self._parts:
            assert parameter.grad is not None
            parameter.grad[index] = 0

    def after_step(self) -> None:
        """Restore the values. Scale codes and marks to the present size of the other dimensions."""
        if not self._parts:
            return
        for (parameter, index), values in zip(self._parts, self._values, strict=True):
            parameter.detach()[index] = values
        layout, embeddings = self.layout, self.model.albert.embeddings
        words, segments = embeddings.word_embeddings.weight.detach(), embeddings.token_type_embeddings.weight.detach()
        sizes = words[:, layout.embedding_codes.stop :].square().mean(1, keepdim=True).sqrt()
        words[:, layout.embedding_codes] = words[:, layout.embedding_codes].sign() * sizes
        mark = sizes.mean() * (MARK / (DEVIATION * CUT_OFF))
        for table, column in ((segments, layout.segment), (words, layout.special)):
            table[:, column] = table[:, column].sign() * mark


def parts(model: AlbertForPreTraining) -> Parts:
    """The frozen parameters and indices into them."""
    layout = Layout.of(model.config)
    embeddings, encoder = model.albert.embeddings, model.albert.encoder
    mapping, reserved = encoder.embedding_hidden_mapping_in, slice(0, layout.match + 1)
    embedding_marks = slice(layout.positions, layout.embedding_codes.stop)
    hidden_marks = slice(layout.positions, layout.hidden_codes.stop)
    frozen: Parts = [
        (embeddings.word_embeddings.weight, (ALL, embedding_marks)),
        (embeddings.token_type_embeddings.weight, ALL),
        (embeddings.LayerNorm.weight, embedding_marks),
        (embeddings.LayerNorm.bias, embedding_marks),
        (mapping.weight, slice(0, layout.hidden_codes.stop)),
        (mapping.bias, slice(0, layout.hidden_codes.stop)),
    ]
    for group in encoder.albert_layer_groups:
        for layer in group.albert_layers:
            attention = layer.attention
            if not layout.compares or not _compares(attention, layout):
                return []
            head = layout.rows(layout.neighbour_heads)
            for part in (attention.query, attention.key):
                frozen += [(part.weight, head), (part.bias, head)]
            for row in (head.start, head.stop):  # the first row of the comparing head and of the mean head
                frozen += [(attention.value.weight, row), (attention.value.bias, row)]
                frozen += [(attention.dense.weight, (ALL, row))]
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
