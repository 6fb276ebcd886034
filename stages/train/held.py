"""The parts of a model that training does not change: those that compare two texts.

Pretraining does not need them, and would destroy them within 800 steps (README.md). No step moves the queries and keys
of the comparing head, two rows of values and their output columns, and the dimensions that these read. Everything else
learns. Codes and marks grow with the token embeddings, so that they keep their share behind the layer normalisation.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from transformers import AlbertForPreTraining

from stages.train.heads import Room
from stages.train.start import CUT_OFF, DEVIATION, MARK

Parts = list[tuple[Tensor, Any]]
ALL = slice(None)


class Held:
    """The parts of one model. A model without the comparing head has none; the first step looks for it."""

    def __init__(self, model: AlbertForPreTraining) -> None:
        self.model = model
        self.room = Room.of(model.config)
        self._parts: Parts | None = None
        self._before: list[Tensor] = []

    def before(self) -> None:
        """Before a step: remember the values, and zero the gradients, which would have a part in Muon's update."""
        if self._parts is None:
            self._parts = parts(self.model)
        self._before = [parameter.detach()[index].clone() for parameter, index in self._parts]
        for parameter, index in self._parts:
            assert parameter.grad is not None
            parameter.grad[index] = 0

    def after(self) -> None:
        """After a step: restore the values. Codes and marks get the size that the other dimensions have now."""
        for (parameter, index), values in zip(self._parts or [], self._before, strict=True):
            parameter.detach()[index] = values
        if self._parts:
            words, segments = self._tables()
            sizes = words[:, self.room.embedded.stop :].square().mean(1, keepdim=True).sqrt()
            words[:, self.room.embedded] = words[:, self.room.embedded].sign() * sizes
            mark = sizes.mean() * (MARK / (DEVIATION * CUT_OFF))
            for table, column in ((segments, self.room.segment), (words, self.room.special)):
                table[:, column] = table[:, column].sign() * mark

    def _tables(self) -> tuple[Tensor, Tensor]:
        """Embeddings of tokens and of segments, without their gradients."""
        embeddings = self.model.albert.embeddings
        return embeddings.word_embeddings.weight.detach(), embeddings.token_type_embeddings.weight.detach()


def parts(model: AlbertForPreTraining) -> Parts:
    """Parameters and indices into them."""
    room = Room.of(model.config)
    embeddings, encoder = model.albert.embeddings, model.albert.encoder
    mapping, aside = encoder.embedding_hidden_mapping_in, slice(0, room.found + 1)
    marks, hidden_marks = slice(room.positions, room.embedded.stop), slice(room.positions, room.hidden.stop)
    found: Parts = [
        (embeddings.word_embeddings.weight, (ALL, marks)),
        (embeddings.token_type_embeddings.weight, ALL),
        (embeddings.LayerNorm.weight, marks),
        (embeddings.LayerNorm.bias, marks),
        (mapping.weight, slice(0, room.hidden.stop)),
        (mapping.bias, slice(0, room.hidden.stop)),
    ]
    for group in encoder.albert_layer_groups:
        for layer in group.albert_layers:
            attention = layer.attention
            if not room.compares or not _compares(attention, room):
                return []
            head = room.rows(room.aimed)
            for part in (attention.query, attention.key):
                found += [(part.weight, head), (part.bias, head)]
            for row in (head.start, head.stop):  # the first of the comparing head, and of the one behind it
                found += [(attention.value.weight, row), (attention.value.bias, row)]
                found += [(attention.dense.weight, (ALL, row))]
            found += [(attention.value.weight, (ALL, aside)), (attention.dense.weight, aside)]
            found += [(attention.dense.bias, aside)]
            found += [(layer.ffn_output.weight, room.found), (layer.ffn_output.bias, room.found)]
            for norm in (attention.LayerNorm, layer.full_layer_layer_norm):
                found += [(norm.weight, hidden_marks), (norm.bias, hidden_marks)]
    return found


def _compares(attention: torch.nn.Module, room: Room) -> bool:
    """Whether the head's queries read the codes and the segment, and nothing else."""
    wanted = torch.zeros(attention.query.weight.shape[1], dtype=torch.bool)
    wanted[room.hidden] = wanted[room.segment] = True
    read = attention.query.weight[room.rows(room.aimed)].ne(0).any(0)
    return bool(torch.equal(read.cpu(), wanted))
