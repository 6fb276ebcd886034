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

from stages.command.refusal import Refusal
from stages.formats.albert_config import model_config
from stages.formats.batches import Batch

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
    """The model of a configuration in TensorFlow's form, with initial values that depend on the seed alone.

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
    _compute_gelu_in_one_pass(model)
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


def _compute_gelu_in_one_pass(model: nn.Module) -> None:
    """`gelu_new` in one operation in place of eight, each of which reads and writes the largest array of a layer."""
    for module in list(model.modules()):
        if type(getattr(module, "activation", None)).__name__ == "NewGELUActivation":
            module.activation = nn.GELU(approximate="tanh")


def tensors(batch: Batch, device: torch.device) -> Tensors:
    """A batch's arrays by name, where the model is."""
    return {name: torch.from_numpy(array).to(device, non_blocking=True) for name, array in batch._asdict().items()}


class _Rows(NamedTuple):
    """The tokens of a batch, one a row, in groups of examples of one length, and what is asked of them."""

    ids: Tensor  # (rows,)
    segments: Tensor  # (rows,)
    places: Tensor  # (rows,) within the example
    groups: list[tuple[int, int]]  # examples, and the length of each, in the order of the rows
    mask: Tensor | None  # (examples, 1, 1, length) of the one group; None where no row is padding
    asked: Tensor  # (examples * (1 + predictions),) rows of [CLS] and of the masked tokens, by example
    used: Tensor  # (used,) which of the flat slots for predictions are used: all of them in compiled code
    labels: Tensor  # (examples, predictions)
    weights: Tensor  # (examples, predictions)
    swapped: Tensor  # (examples,)


class Pretraining(nn.Module):
    """What is trained: a batch → its Sums.

    It computes what the model's own `forward` and heads do, but for what no loss depends on: padding (on processors,
    where shapes may differ from step to step), and in the last layer all but [CLS] and the masked tokens, of which the
    others are keys and values alone.
    """

    def __init__(self, model: AlbertForPreTraining) -> None:
        super().__init__()
        self.model = model

    def forward(self, batch: Tensors) -> Sums:
        """`batch`: the fields of `records.Batch` as tensors. Sums are float32 under autocast as well."""
        rows = _rows(batch)
        examples = len(rows.labels)
        hidden = self._asked(rows)
        albert = self.model.albert
        logits = self.model.predictions(hidden[examples:]).float()
        labels, weights = rows.labels.flatten()[rows.used], rows.weights.flatten()[rows.used]
        losses = functional.cross_entropy(logits, labels, reduction="none")
        orders = self.model.sop_classifier(albert.pooler_activation(albert.pooler(hidden[:examples]))).float()
        return Sums(
            (losses * weights).sum(),
            weights.sum(),
            ((logits.argmax(-1) == labels) * weights).sum(),
            functional.cross_entropy(orders, rows.swapped, reduction="sum"),
            (orders.argmax(-1) == rows.swapped).sum(),
            (rows.swapped >= 0).sum(),
        )

    def _asked(self, rows: _Rows) -> Tensor:
        """The last hidden states of every [CLS], then of the masked tokens that are used: (examples + used, hidden)."""
        embeddings, encoder = self.model.albert.embeddings, self.model.albert.encoder
        found = embeddings.word_embeddings(rows.ids) + embeddings.token_type_embeddings(rows.segments)
        found = embeddings.LayerNorm(found + embeddings.position_embeddings(rows.places))
        hidden = encoder.embedding_hidden_mapping_in(embeddings.dropout(found))
        layers = self._layers()
        for layer in layers[:-1]:
            hidden = _layer(layer, hidden, hidden, rows)
        return _layer(layers[-1], hidden.index_select(0, rows.asked), hidden, rows, _order(rows))

    def _layers(self) -> list[Any]:
        """The layers in the order of their use, each as often as it is used."""
        config, groups = self.model.config, self.model.albert.encoder.albert_layer_groups
        layers = config.num_hidden_layers
        uses = (groups[int(layer / layers * config.num_hidden_groups)] for layer in range(layers))
        return [layer for group in uses for layer in group.albert_layers]

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
    """A batch's tokens as rows: without padding on processors, else with it, as compiled code needs fixed shapes."""
    fields = {name: tensor if name == "weights" else tensor.long() for name, tensor in batch.items()}
    lengths = _lengths(fields) if batch["ids"].device.type == "cpu" and not torch.compiler.is_compiling() else None
    if lengths is not None:
        lengths, order = lengths.sort(stable=True)
        fields = {name: tensor[order] for name, tensor in fields.items()}
    examples, length = fields["ids"].shape
    places = torch.arange(length, device=fields["ids"].device).expand(examples, length)
    tokens = [fields["ids"], fields["segments"], places]
    if lengths is None:
        begins = length * torch.arange(examples, device=places.device)
        tokens = [tensor.flatten() for tensor in tokens]
        groups, mask = [(examples, length)], fields["mask"].bool()[:, None, None]
    else:
        begins = lengths.cumsum(0) - lengths
        within = places < lengths[:, None]
        tokens = [tensor[within] for tensor in tokens]
        same, counts = lengths.unique_consecutive(return_counts=True)
        groups, mask = list(zip(counts.tolist(), same.tolist(), strict=True)), None
    # [CLS] is the first token.
    asked = begins[:, None] + functional.pad(fields["positions"], (1, 0))
    ids, segments, places = tokens
    return _Rows(
        ids,
        segments,
        places,
        groups,
        mask,
        asked.flatten(),
        _used(fields["weights"], lengths),
        fields["labels"],
        fields["weights"],
        fields["swapped"],
    )


def _used(weights: Tensor, lengths: Tensor | None) -> Tensor:
    """The flat slots with a weight; all of them where shapes must not differ from step to step."""
    return (
        torch.arange(weights.numel(), device=weights.device) if lengths is None else weights.flatten().nonzero()[:, 0]
    )


def _order(rows: _Rows) -> Tensor:
    """Every [CLS], then the used slots, as places in `rows.asked`, where each example has its [CLS] and its slots."""
    examples, predictions = rows.labels.shape
    begins = torch.arange(examples, device=rows.used.device) * (1 + predictions)
    return torch.cat([begins, begins[rows.used // predictions] + 1 + rows.used % predictions])


def _lengths(fields: Tensors) -> Tensor | None:
    """How many tokens each example has. None where one has padding between them, or a masked token in its padding."""
    mask = fields["mask"]
    lengths = mask.sum(1)
    if (mask[:, 1:] > mask[:, :-1]).any() or (fields["positions"] >= lengths[:, None]).any():
        return None
    return lengths


def _layer(layer: Any, asked: Tensor, hidden: Tensor, rows: _Rows, kept: Tensor | None = None) -> Tensor:
    """The next hidden states of the rows `asked`, which see all of `hidden`: attention_ffn_block of modeling.py.

    `kept`: those of `asked` that are computed behind the attention, in this order; all of them without it.
    """
    attention = layer.attention
    each = None if asked is hidden else len(asked) // len(rows.labels)
    found = _attended(attention, attention.query(asked), attention.key(hidden), attention.value(hidden), rows, each)
    if kept is not None:
        found, asked = found.index_select(0, kept), asked.index_select(0, kept)
    middle = attention.LayerNorm(attention.output_dropout(attention.dense(found)) + asked)
    # transformers has this dropout and does not call it; TensorFlow does.
    return layer.full_layer_layer_norm(layer.dropout(layer.ff_chunk(middle)) + middle)


def _attended(
    attention: Any, queries: Tensor, keys: Tensor, values: Tensor, rows: _Rows, each: int | None
) -> Tensor:  # fmt: skip
    """What each example's queries find among its own keys and values. Rows of (hidden) in, as many as queries out.

    `each`: the queries of an example; None where every row is one.
    """
    dropout = attention.attention_dropout.p if attention.training else 0.0
    asked_sizes = [examples * (each or length) for examples, length in rows.groups]
    sizes = [examples * length for examples, length in rows.groups]
    found = []
    for (examples, _), *parts in zip(
        rows.groups, queries.split(asked_sizes), keys.split(sizes), values.split(sizes), strict=True
    ):
        shape = (examples, -1, attention.num_attention_heads, attention.attention_head_size)
        query, key, value = (part.view(shape).transpose(1, 2) for part in parts)
        plain = rows.mask is None and not dropout and query.requires_grad and query.dtype == torch.bfloat16
        if plain:
            one = _by_products(query, key, value)
        else:
            one = functional.scaled_dot_product_attention(query, key, value, attn_mask=rows.mask, dropout_p=dropout)
        found.append(one.transpose(1, 2).reshape(-1, queries.shape[1]))
    return found[0] if len(found) == 1 else torch.cat(found)


def _by_products(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Attention as two products and a softmax, all of its weights in memory. (examples, heads, length, size) each.

    PyTorch's fused attention goes back slowly in bfloat16 on processors: 16 × 128 tokens in 12 heads of 26 take 30.6 ms
    forward and back on two cores of an AMD EPYC, these products 8.8; 4 × 512 tokens 38.2 and 26.3.
    """
    scores = torch.matmul(query * query.shape[-1] ** -0.5, key.transpose(-1, -2))
    return torch.matmul(scores.softmax(-1, dtype=query.dtype), value)
