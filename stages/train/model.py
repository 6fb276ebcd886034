"""A configuration and a seed → transformers' ALBERT; a batch → the sums of its losses.

The formulas are those of the released program: get_masked_lm_output and get_sentence_order_output of
run_pretraining.py, and modeling.py for everything below them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import AlbertConfig, AlbertForPreTraining

from stages.command.refusal import Refusal
from stages.formats.albert_config import model_config
from stages.formats.batches import Batch
from stages.formats.pretraining import METRICS

# The masked LM loss is numerator / (denominator + 1e-5) in run_pretraining.py.
EPSILON = 1e-5
# On processors the rows, the computed slots and the queries of an example are padded to multiples of these. oneDNN
# compiles a product for each new shape. With AMX that takes up to 20 ms, where the product takes 1: without padding,
# 260 of the 640 ms of a step of `tiny` were compilation.
MULTIPLE, QUERIES = 64, 8
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


def means(sums: Sequence[float]) -> dict[str, float]:
    """Sums → masked LM loss and accuracy per masked token, sentence order loss and accuracy per example."""
    masked_lm, weights, correct_masked, order, correct_order, examples = sums
    weights, examples = max(weights, EPSILON), max(examples, 1.0)
    of_words, of_order = (correct_masked / weights, masked_lm / weights), (correct_order / examples, order / examples)
    return dict(zip(METRICS, of_words + of_order, strict=True))


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
    limit = 2.0 * deviation
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
    outputs: Tensor  # indices into queries: every [CLS], padding, then the slots that are computed
    labels: Tensor  # (slots,) of all prediction slots with a weight, and of some without
    weights: Tensor  # (slots,)
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
        rows, albert = _rows(batch), self.model.albert
        labels, weights = rows.labels, rows.weights
        hidden = self._hidden(rows)
        logits = self.model.predictions(hidden[len(hidden) - len(labels) :]).float()
        losses = functional.cross_entropy(logits, labels, reduction="none")
        pooled = albert.pooler_activation(albert.pooler(hidden[: len(rows.swapped)]))
        orders = self.model.sop_classifier(pooled).float()
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
        groups, count = encoder.albert_layer_groups, self.model.config.num_hidden_layers
        sequence = [groups[int(layer / count * len(groups))] for layer in range(count)]
        *layers, last = [layer for group in sequence for layer in group.albert_layers]
        for layer in layers:
            hidden = _layer(layer, hidden, rows)
        return _layer(last, hidden, rows, last=True)

    def state(self) -> Tensors:
        """The parameters by transformers' names. The decoder's matrix is that of the embeddings and is left out."""
        return {name: parameter.detach() for name, parameter in self.model.named_parameters()}

    def load(self, state: Tensors) -> None:
        """Load all parameters. Refusal for those of another model."""
        own = self.state()
        others = sorted(set(own) ^ set(state)) or [name for name in own if own[name].shape != state[name].shape]
        if others:
            raise Refusal(f"these are not the weights of the configuration's model: {others[0]} differs")
        for name, tensor in own.items():
            tensor.copy_(state[name])


def _rows(batch: Tensors) -> _Rows:
    """A batch's tokens as rows: without padding on processors; with it in compiled code, which needs fixed shapes."""
    fields = {name: tensor if name == "weights" else tensor.long() for name, tensor in batch.items()}
    mask, lengths, device = fields["mask"], fields["mask"].sum(1), batch["ids"].device
    compact = device.type == "cpu" and not torch.compiler.is_compiling()
    # Not where an example has padding between tokens, or a masked token in its padding.
    compact = compact and not ((mask[:, 1:] > mask[:, :-1]).any() or (fields["positions"] >= lengths[:, None]).any())
    if compact:
        lengths, order = lengths.sort(stable=True)
        fields = {name: tensor[order] for name, tensor in fields.items()}
        for name in ("positions", "labels", "weights"):
            fields[name] = functional.pad(fields[name], (0, -(1 + fields[name].shape[1]) % QUERIES))
    examples, length = fields["ids"].shape
    position_ids = torch.arange(length, device=device).expand(examples, length)
    tokens = [fields["ids"], fields["segments"], position_ids]
    weights = fields["weights"].flatten()
    if compact:
        first_rows = lengths.cumsum(0) - lengths
        inside = position_ids < lengths[:, None]
        tokens = [tensor[inside] for tensor in tokens]
        tokens = [functional.pad(tensor, (0, -len(tensor) % MULTIPLE)) for tensor in tokens]
        sizes, counts = lengths.unique_consecutive(return_counts=True)
        groups = list(zip(counts.tolist(), sizes.tolist(), strict=True))
        # The slots with a weight come first. Those that pad them have the weight 0.
        unused = (weights == 0).byte()
        used = len(unused) - int(unused.sum())
        slots = unused.argsort(stable=True)[: used + -used % MULTIPLE]
    else:
        first_rows = length * torch.arange(examples, device=device)
        tokens = [tensor.flatten() for tensor in tokens]
        groups = [(examples, length)]
        slots = torch.arange(weights.numel(), device=device)
    # [CLS] is the first token. The queries of an example are [CLS] and its slots.
    queries = first_rows[:, None] + functional.pad(fields["positions"], (1, 0))
    predictions = queries.shape[1] - 1
    classes = torch.arange(examples, device=device) * (1 + predictions)
    outputs = classes[slots // predictions] + 1 + slots % predictions
    # The first [CLS] pads their number.
    outputs = torch.cat([functional.pad(classes, (0, -examples % MULTIPLE)), outputs])
    ids, segments, position_ids = tokens
    return _Rows(
        ids, segments, position_ids, groups, None if compact else mask.bool()[:, None, None], queries.flatten(),
        outputs, fields["labels"].flatten()[slots], weights[slots], fields["swapped"],
    )  # fmt: skip


def _layer(layer: Any, hidden: Tensor, rows: _Rows, last: bool = False) -> Tensor:
    """The next hidden states, in the `last` layer those of the outputs alone: attention_ffn_block of modeling.py."""
    attention = layer.attention
    inputs = hidden.index_select(0, rows.queries) if last else hidden
    sizes = [examples * length for examples, length in rows.groups]
    per_example = len(inputs) // len(rows.swapped)
    query_sizes = [examples * per_example for examples, _ in rows.groups] if last else sizes
    projected = (attention.query(inputs), query_sizes), (attention.key(hidden), sizes), (attention.value(hidden), sizes)
    # The rows of each group, without the padding after them. Each example attends to itself.
    parts = [tensor[: sum(counts)].split(counts) for tensor, counts in projected]
    dropout = attention.attention_dropout.p if attention.training else 0.0
    contexts = []
    for (examples, _), *group in zip(rows.groups, *parts, strict=True):
        shape = (examples, -1, attention.num_attention_heads, attention.attention_head_size)
        query, key, value = (tensor.view(shape).transpose(1, 2) for tensor in group)
        if rows.mask is None and not dropout and query.requires_grad and query.dtype == torch.bfloat16:
            # Two products and a softmax, with all weights in memory. The backward pass of PyTorch's fused attention is
            # slow in bfloat16 on processors: 16 × 128 tokens in 12 heads of 26 take 30.6 ms forward and backward on two
            # cores of an AMD EPYC, these products 8.8; 4 × 512 tokens 38.2 and 26.3.
            scores = torch.matmul(query * query.shape[-1] ** -0.5, key.transpose(-1, -2))
            context = torch.matmul(scores.softmax(-1, dtype=query.dtype), value)
        else:
            context = functional.scaled_dot_product_attention(query, key, value, attn_mask=rows.mask, dropout_p=dropout)
        contexts.append(context.transpose(1, 2).reshape(-1, inputs.shape[1]))
    padding = len(inputs) - sum(query_sizes)
    if padding:
        contexts.append(contexts[0].new_zeros(padding, inputs.shape[1]))
    context = contexts[0] if len(contexts) == 1 else torch.cat(contexts)
    if last:
        context, inputs = context.index_select(0, rows.outputs), inputs.index_select(0, rows.outputs)
    middle = attention.LayerNorm(attention.output_dropout(attention.dense(context)) + inputs)
    # transformers has this dropout and does not call it; TensorFlow does.
    return layer.full_layer_layer_norm(layer.dropout(layer.ff_chunk(middle)) + middle)
