"""A configuration and a seed → ALBERT as transformers has it; a batch → the sums that its losses are made of.

The formulas are those of the released program: get_masked_lm_output and get_sentence_order_output of
run_pretraining.py, and modeling.py for everything below them.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import AlbertConfig, AlbertForPreTraining

from stages.convert.mapping import model_config
from stages.handover import Refusal
from stages.train.records import Batch

# The least that a sum of weights is divided by: numerator / (denominator + 1e-5) in run_pretraining.py.
EPSILON = 1e-5
# Initial values lie within so many standard deviations.
TRUNCATED_AT = 2.0
Tensors = dict[str, Tensor]


class Sums(NamedTuple):
    """What a batch adds to losses and accuracies: scalars, so that parts of a batch add up to the whole of it."""

    masked_lm: Tensor  # cross entropy of the masked tokens, times their weights
    weights: Tensor  # of the masked tokens
    correct_masked: Tensor  # the weights of those that are predicted
    order: Tensor  # cross entropy of the sentence order
    correct_order: Tensor  # examples whose order is predicted
    examples: Tensor


def loss(sums: Sums, weights: float, examples: float) -> Tensor:
    """The part of a batch in its loss. `weights` and `examples` are those of the whole batch.

    Masked LM loss Σ(weight × loss) / (Σ weight + 1e-5), plus the mean of the sentence order loss.
    """
    return sums.masked_lm / (weights + EPSILON) + sums.order / examples


def new_model(config: dict[str, Any], seed: int) -> AlbertForPreTraining:
    """The model of a configuration in TensorFlow's form, with initial values that hang on the seed alone.

    Embeddings and kernels are drawn from a normal distribution of standard deviation `initializer_range` that is cut
    off at two deviations (create_initializer in modeling.py; transformers' own is not cut off), biases are 0, layer
    normalisation is 1 and 0.
    """
    with torch.random.fork_rng(devices=[]):
        model: AlbertForPreTraining = AlbertForPreTraining._from_config(
            AlbertConfig(**model_config(config)), attn_implementation="sdpa"
        )
    # In TensorFlow [PAD] learns like every entry.
    model.albert.embeddings.word_embeddings.padding_idx = None
    _compute_gelu_at_once(model)
    generator = torch.Generator().manual_seed(seed)
    deviation = model.config.initializer_range
    most = TRUNCATED_AT * deviation
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("bias"):
                parameter.zero_()
            elif "norm" in name.lower():
                parameter.fill_(1)
            else:
                nn.init.trunc_normal_(parameter, 0.0, deviation, -most, most, generator=generator)
    return model


def _compute_gelu_at_once(model: nn.Module) -> None:
    """`gelu_new` in one operation in place of eight, each of which reads and writes the largest array of a layer."""
    for module in list(model.modules()):
        if type(getattr(module, "activation", None)).__name__ == "NewGELUActivation":
            module.activation = nn.GELU(approximate="tanh")


def tensors(batch: Batch, device: torch.device) -> Tensors:
    """A batch's arrays by name, where the model is."""
    return {name: torch.from_numpy(array).to(device, non_blocking=True) for name, array in batch._asdict().items()}


class _Rows(NamedTuple):
    """The tokens of a batch, one a row, as (examples, length) groups that follow each other, and what is asked of them.

    `mask` is None where no row is padding.
    """

    ids: Tensor  # (rows,)
    segments: Tensor  # (rows,)
    places: Tensor  # (rows,) within the example
    groups: list[tuple[int, int]]
    mask: Tensor | None  # (examples, 1, 1, length) of the one group
    asked: Tensor  # (examples * (1 + predictions),) rows of [CLS] and of the masked tokens, by example
    labels: Tensor  # (examples, predictions)
    weights: Tensor  # (examples, predictions)
    swapped: Tensor  # (examples,)


class Pretraining(nn.Module):
    """What is trained: a batch → its Sums.

    It computes what the model's own `forward` does, and leaves out what no loss depends on: padding (on processors), and
    in the last layer all but the keys and values of tokens that are neither masked nor [CLS].
    """

    def __init__(self, model: AlbertForPreTraining) -> None:
        super().__init__()
        self.model = model

    def forward(self, batch: Tensors) -> Sums:
        """`batch`: the fields of `records.Batch` as tensors."""
        rows = _rows(batch)
        examples, predictions = rows.labels.shape
        hidden = self._asked(rows).view(examples, 1 + predictions, -1)
        model = self.model
        logits = model.predictions(hidden[:, 1:].flatten(0, 1)).float()
        labels, weights = rows.labels.flatten(), rows.weights.flatten()
        losses = functional.cross_entropy(logits, labels, reduction="none")
        pooled = model.albert.pooler_activation(model.albert.pooler(hidden[:, 0]))
        orders = model.sop_classifier(pooled).float()
        return Sums(
            (losses * weights).sum(),
            weights.sum(),
            ((logits.argmax(-1) == labels) * weights).sum(),
            functional.cross_entropy(orders, rows.swapped, reduction="sum"),
            (orders.argmax(-1) == rows.swapped).sum(),
            torch.tensor(float(examples), device=rows.ids.device),
        )

    def _asked(self, rows: _Rows) -> Tensor:
        """The last hidden states (examples * (1 + predictions), hidden) of the rows that are asked for."""
        albert, config = self.model.albert, self.model.config
        embeddings, encoder = albert.embeddings, albert.encoder
        hidden = embeddings.word_embeddings(rows.ids) + embeddings.token_type_embeddings(rows.segments)
        hidden = embeddings.dropout(embeddings.LayerNorm(hidden + embeddings.position_embeddings(rows.places)))
        hidden = encoder.embedding_hidden_mapping_in(hidden)
        layers = [
            layer
            for number in range(config.num_hidden_layers)
            for layer in encoder.albert_layer_groups[
                int(number / config.num_hidden_layers * config.num_hidden_groups)
            ].albert_layers
        ]
        for layer in layers[:-1]:
            hidden = _layer(layer, hidden, hidden, rows)
        return _layer(layers[-1], hidden.index_select(0, rows.asked), hidden, rows)

    def state(self) -> Tensors:
        """The parameters by transformers' names; the decoder's, which are the embeddings', once."""
        return {name: parameter.detach() for name, parameter in self.model.named_parameters()}

    def load(self, given: Tensors) -> None:
        """Take over parameters, all of them. Refusal for those of another model."""
        own = self.state()
        other = sorted(set(own) ^ set(given)) or [name for name in own if own[name].shape != given[name].shape]
        if other:
            raise Refusal(f"these are not the weights of the configuration's model: {other[0]} differs")
        with torch.no_grad():
            for name, tensor in own.items():
                tensor.copy_(given[name])


def _rows(batch: Tensors) -> _Rows:
    """A batch's tokens as rows: on processors those that are no padding, else all, so that shapes stay the same."""
    fields = {name: tensor if name == "weights" else tensor.long() for name, tensor in batch.items()}
    lengths = _lengths(fields) if batch["ids"].device.type == "cpu" and not torch.compiler.is_compiling() else None
    if lengths is not None:
        # Examples of one length are one group.
        lengths, order = lengths.sort(stable=True)
        fields = {name: tensor[order] for name, tensor in fields.items()}
    ids = fields["ids"]
    examples, length = ids.shape
    places = torch.arange(length, device=ids.device).expand(examples, length)
    asked = functional.pad(fields["positions"], (1, 0))  # [CLS] is at 0.
    if lengths is None:
        kept: Any = slice(None)
        groups, mask = [(examples, length)], fields["mask"].bool()[:, None, None]
        begins = length * torch.arange(examples, device=ids.device)
    else:
        kept = (places < lengths[:, None]).flatten()
        groups = [
            (count, same)
            for same, count in zip(*map(Tensor.tolist, lengths.unique_consecutive(return_counts=True)), strict=True)
        ]
        mask = None
        begins = lengths.cumsum(0) - lengths
    return _Rows(
        ids.flatten()[kept], fields["segments"].flatten()[kept], places.flatten()[kept], groups, mask,
        (begins[:, None] + asked).flatten(), fields["labels"], fields["weights"], fields["swapped"],
    )  # fmt: skip


def _lengths(fields: Tensors) -> Tensor | None:
    """The tokens of each example; None where padding is not behind them all, or where it is asked for."""
    mask = fields["mask"]
    lengths = mask.sum(1)
    if (mask[:, 1:] > mask[:, :-1]).any() or (fields["positions"] >= lengths[:, None]).any():
        return None
    return lengths


def _layer(layer: nn.Module, asked: Tensor, hidden: Tensor, rows: _Rows) -> Tensor:
    """attention_ffn_block of modeling.py: the next hidden states of the rows `asked`, which attend to all of `hidden`."""
    attention = layer.attention
    found = _attend(attention, attention.query(asked), attention.key(hidden), attention.value(hidden), rows)
    middle = attention.LayerNorm(attention.output_dropout(attention.dense(found)) + asked)
    # Dropout here is TensorFlow's; transformers has the module and does not call it.
    return layer.full_layer_layer_norm(layer.dropout(layer.ff_chunk(middle)) + middle)


def _attend(attention: nn.Module, queries: Tensor, keys: Tensor, values: Tensor, rows: _Rows) -> Tensor:
    """Each example's queries over its own keys and values: (rows, hidden) → (rows, hidden)."""
    every = len(queries) == len(keys)
    asked = 1 + rows.labels.shape[1]
    sizes = [count * length for count, length in rows.groups]
    asked_sizes = [count * (length if every else asked) for count, length in rows.groups]
    dropout = attention.attention_dropout.p if attention.training else 0.0

    def heads(tensor: Tensor, examples: int) -> Tensor:
        return tensor.view(examples, -1, attention.num_attention_heads, attention.attention_head_size).transpose(1, 2)

    found = []
    for (examples, _), *parts in zip(
        rows.groups, queries.split(asked_sizes), keys.split(sizes), values.split(sizes), strict=True
    ):
        query, key, value = (heads(part, examples) for part in parts)
        one = functional.scaled_dot_product_attention(query, key, value, attn_mask=rows.mask, dropout_p=dropout)
        found.append(one.transpose(1, 2).reshape(-1, queries.shape[1]))
    return found[0] if len(found) == 1 else torch.cat(found)
