"""A configuration and a seed → transformers' ALBERT; a batch → the sums of its losses.

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

# The masked LM loss is numerator / (denominator + 1e-5) in run_pretraining.py.
EPSILON = 1e-5
# On processors the rows, the computed slots and the queries of an example are padded to multiples of these. oneDNN
# compiles a product for each new shape. With AMX that takes up to 20 ms, where the product takes 1: without padding,
# 260 of the 640 ms of a step of `tiny` were compilation.
MULTIPLE, QUERIES = 64, 8
# The limit of initial values, in standard deviations.
TRUNCATION = 2.0
Tensors = dict[str, Tensor]


class Sums(NamedTuple):
    """The share of a batch in losses and accuracies: scalars. The sums of a batch's parts add up to its own."""

    masked_lm: Tensor  # cross entropy of the masked tokens, times their weights
    weights: Tensor  # of the masked tokens
    correct_masked: Tensor  # the weights of the correct predictions
    order: Tensor  # cross entropy of the sentence order
    correct_order: Tensor  # examples with a correct prediction
    examples: Tensor


def loss(sums: Sums, weights: float, examples: float) -> Tensor:
    """The loss of a part of a batch. `weights` and `examples` are those of the whole batch.

    Masked LM loss Σ(weight × loss) / (Σ weight + 1e-5), plus the mean of the sentence order loss.
    """
    return sums.masked_lm / (weights + EPSILON) + sums.order / examples


def new_model(config: dict[str, Any], seed: int, erf: bool = False) -> AlbertForPreTraining:
    """The model of a configuration in TensorFlow's form. Its initial values depend on the seed alone.

    Embeddings and kernels have a normal distribution of standard deviation `initializer_range`, truncated at two
    deviations (create_initializer in modeling.py; transformers does not truncate). Biases are 0, layer normalisation
    is 1 and 0. `erf`: GELU by the error function, not by the hyperbolic tangent that approximates it.
    """
    with torch.random.fork_rng(devices=[]):
        model: AlbertForPreTraining = AlbertForPreTraining._from_config(
            AlbertConfig(**model_config(config)), attn_implementation="sdpa"
        )
    # In TensorFlow [PAD] learns like every entry.
    model.albert.embeddings.word_embeddings.padding_idx = None
    # One operation in place of the eight of `gelu_new`, each of which reads and writes the largest array of a layer.
    for module in list(model.modules()):
        if type(getattr(module, "activation", None)).__name__ == "NewGELUActivation":
            module.activation = nn.GELU("none" if erf else "tanh")
    generator = torch.Generator().manual_seed(seed)
    deviation = model.config.initializer_range
    limit = TRUNCATION * deviation
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("bias"):
                parameter.zero_()
            elif "norm" in name.lower():
                parameter.fill_(1)
            else:
                nn.init.trunc_normal_(parameter, 0.0, deviation, -limit, limit, generator=generator)
    return model


def tensors(batch: Batch, device: torch.device) -> Tensors:
    """A batch's arrays by name, as tensors on the device."""
    return {name: torch.from_numpy(array).to(device, non_blocking=True) for name, array in batch._asdict().items()}


class _Rows(NamedTuple):
    """The tokens of a batch as rows, in groups of examples of equal length, and the rows that the heads read.

    Rows after those of the last group are padding.
    """

    ids: Tensor  # (rows,)
    segments: Tensor  # (rows,)
    position_ids: Tensor  # (rows,) within the example
    groups: list[tuple[int, int]]  # examples, and the length of each, in the order of the rows
    mask: Tensor | None  # (examples, 1, 1, length) of the one group; None if no row is padding
    queries: Tensor  # (examples * (1 + predictions),) rows of [CLS] and of the masked tokens, by example
    slots: Tensor  # (slots,) the flat prediction slots that are computed: all with a weight, and some without
    labels: Tensor  # (examples, predictions)
    weights: Tensor  # (examples, predictions)
    swapped: Tensor  # (examples,)


class Pretraining(nn.Module):
    """The module that learns: a batch → its Sums.

    It computes the model's own `forward` and heads without the values that no loss depends on. These are padding (on
    processors, where shapes may differ from step to step) and, in the last layer, all rows but [CLS] and the masked
    tokens. The other rows of the last layer are keys and values alone.
    """

    def __init__(self, model: AlbertForPreTraining) -> None:
        super().__init__()
        self.model = model

    def forward(self, batch: Tensors) -> Sums:
        """`batch`: the fields of `Batch` as tensors. The sums are float32 also under autocast."""
        rows = _rows(batch)
        examples = len(rows.labels)
        hidden = self._hidden(rows)
        albert = self.model.albert
        logits = self.model.predictions(hidden[len(hidden) - len(rows.slots) :]).float()
        labels, weights = rows.labels.flatten()[rows.slots], rows.weights.flatten()[rows.slots]
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

    def _hidden(self, rows: _Rows) -> Tensor:
        """The last hidden states of every [CLS], padding, then the slots: (rows, hidden)."""
        embeddings, encoder = self.model.albert.embeddings, self.model.albert.encoder
        values = embeddings.word_embeddings(rows.ids) + embeddings.token_type_embeddings(rows.segments)
        values = embeddings.LayerNorm(values + embeddings.position_embeddings(rows.position_ids))
        hidden = encoder.embedding_hidden_mapping_in(embeddings.dropout(values))
        *layers, last = self._layers()
        for layer in layers:
            hidden = _layer(layer, hidden, hidden, rows)
        return _layer(last, hidden.index_select(0, rows.queries), hidden, rows, _order(rows))

    def _layers(self) -> list[Any]:
        """The layers in the order of their use, each as often as it is used."""
        config, groups = self.model.config, self.model.albert.encoder.albert_layer_groups
        layers = config.num_hidden_layers
        sequence = (groups[int(layer / layers * config.num_hidden_groups)] for layer in range(layers))
        return [layer for group in sequence for layer in group.albert_layers]

    def state(self) -> Tensors:
        """The parameters by transformers' names. The decoder's matrix is that of the embeddings and is left out."""
        return {name: parameter.detach() for name, parameter in self.model.named_parameters()}

    def load(self, state: Tensors) -> None:
        """Load all parameters. Refusal for those of another model."""
        own = self.state()
        others = sorted(set(own) ^ set(state)) or [name for name in own if own[name].shape != state[name].shape]
        if others:
            raise Refusal(f"these are not the weights of the configuration's model: {others[0]} differs")
        with torch.no_grad():
            for name, tensor in own.items():
                tensor.copy_(state[name])


def _rows(batch: Tensors) -> _Rows:
    """A batch's tokens as rows: without padding on processors; with it in compiled code, which needs fixed shapes."""
    fields = {name: tensor if name == "weights" else tensor.long() for name, tensor in batch.items()}
    lengths = _lengths(fields) if batch["ids"].device.type == "cpu" and not torch.compiler.is_compiling() else None
    if lengths is not None:
        lengths, order = lengths.sort(stable=True)
        fields = {name: tensor[order] for name, tensor in fields.items()}
        for name in ("positions", "labels", "weights"):
            fields[name] = functional.pad(fields[name], (0, -(1 + fields[name].shape[1]) % QUERIES))
    examples, length = fields["ids"].shape
    position_ids = torch.arange(length, device=fields["ids"].device).expand(examples, length)
    tokens = [fields["ids"], fields["segments"], position_ids]
    weights = fields["weights"]
    if lengths is None:
        first_rows = length * torch.arange(examples, device=position_ids.device)
        tokens = [tensor.flatten() for tensor in tokens]
        groups, mask = [(examples, length)], fields["mask"].bool()[:, None, None]
        slots = torch.arange(weights.numel(), device=weights.device)
    else:
        first_rows = lengths.cumsum(0) - lengths
        inside = position_ids < lengths[:, None]
        tokens = [tensor[inside] for tensor in tokens]
        tokens = [functional.pad(tensor, (0, _padded(len(tensor)) - len(tensor))) for tensor in tokens]
        sizes, counts = lengths.unique_consecutive(return_counts=True)
        groups, mask = list(zip(counts.tolist(), sizes.tolist(), strict=True)), None
        # The slots with a weight come first. Those that pad them have the weight 0.
        unused = (weights.flatten() == 0).byte()
        slots = unused.argsort(stable=True)[: _padded(len(unused) - int(unused.sum()))]
    # [CLS] is the first token.
    queries = first_rows[:, None] + functional.pad(fields["positions"], (1, 0))
    labels, swapped = fields["labels"], fields["swapped"]
    ids, segments, position_ids = tokens
    return _Rows(ids, segments, position_ids, groups, mask, queries.flatten(), slots, labels, weights, swapped)


def _padded(count: int) -> int:
    """The next multiple of MULTIPLE."""
    return count + -count % MULTIPLE


def _order(rows: _Rows) -> Tensor:
    """Indices into `rows.queries`, which holds [CLS] and the slots of each example: every [CLS], then all slots.

    The first [CLS] pads their number.
    """
    examples, predictions = rows.labels.shape
    first = torch.arange(examples, device=rows.slots.device) * (1 + predictions)
    slots = first[rows.slots // predictions] + 1 + rows.slots % predictions
    return torch.cat([functional.pad(first, (0, _padded(examples) - examples)), slots])


def _lengths(fields: Tensors) -> Tensor | None:
    """The number of tokens of each example. None if an example has padding between tokens, or a mask in its padding."""
    mask = fields["mask"]
    lengths = mask.sum(1)
    if (mask[:, 1:] > mask[:, :-1]).any() or (fields["positions"] >= lengths[:, None]).any():
        return None
    return lengths


def _layer(layer: Any, inputs: Tensor, hidden: Tensor, rows: _Rows, order: Tensor | None = None) -> Tensor:
    """The next hidden states of the rows `inputs`, which attend to `hidden`: attention_ffn_block of modeling.py.

    `order`: indices of the `inputs` that are computed after the attention; None for all.
    """
    attention = layer.attention
    per_example = None if inputs is hidden else len(inputs) // len(rows.labels)
    context = _attend(
        attention, attention.query(inputs), attention.key(hidden), attention.value(hidden), rows, per_example
    )
    if order is not None:
        context, inputs = context.index_select(0, order), inputs.index_select(0, order)
    middle = attention.LayerNorm(attention.output_dropout(attention.dense(context)) + inputs)
    # transformers has this dropout and does not call it; TensorFlow does.
    return layer.full_layer_layer_norm(layer.dropout(layer.ff_chunk(middle)) + middle)


def _attend(
    attention: Any, queries: Tensor, keys: Tensor, values: Tensor, rows: _Rows, per_example: int | None
) -> Tensor:  # fmt: skip
    """Attention within each example: (queries, hidden), (rows, hidden), (rows, hidden) → (queries, hidden).

    `per_example`: the number of queries of an example; None if every row is one.
    """
    dropout = attention.attention_dropout.p if attention.training else 0.0
    query_sizes = [examples * (per_example or length) for examples, length in rows.groups]
    sizes = [examples * length for examples, length in rows.groups]
    contexts = []
    for (examples, _), *parts in zip(
        rows.groups, _split(queries, query_sizes), _split(keys, sizes), _split(values, sizes), strict=True
    ):
        shape = (examples, -1, attention.num_attention_heads, attention.attention_head_size)
        query, key, value = (part.view(shape).transpose(1, 2) for part in parts)
        if rows.mask is None and not dropout and query.requires_grad and query.dtype == torch.bfloat16:
            context = _plain_attention(query, key, value)
        else:
            context = functional.scaled_dot_product_attention(query, key, value, attn_mask=rows.mask, dropout_p=dropout)
        contexts.append(context.transpose(1, 2).reshape(-1, queries.shape[1]))
    padding = len(queries) - sum(query_sizes)
    if padding:
        contexts.append(queries.new_zeros(padding, queries.shape[1]))
    return contexts[0] if len(contexts) == 1 else torch.cat(contexts)


def _split(rows: Tensor, sizes: list[int]) -> tuple[Tensor, ...]:
    """The rows of each group, without the padding after them."""
    parts: tuple[Tensor, ...] = rows[: sum(sizes)].split(sizes)
    return parts


def _plain_attention(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Attention as two products and a softmax, with all weights in memory. (examples, heads, length, size) each.

    The backward pass of PyTorch's fused attention is slow in bfloat16 on processors. 16 × 128 tokens in 12 heads of 26
    take 30.6 ms forward and backward on two cores of an AMD EPYC, these products 8.8; 4 × 512 tokens 38.2 and 26.3.
    """
    scores = torch.matmul(query * query.shape[-1] ** -0.5, key.transpose(-1, -2))
    return torch.matmul(scores.softmax(-1, dtype=query.dtype), value)
