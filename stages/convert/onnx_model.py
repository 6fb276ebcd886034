"""A configuration and arrays under transformers' names → model.onnx, the masked LM as a graph that needs no PyTorch.

The graph is written node by node, in 1.5 s for a base model. PyTorch's exporter took 93 s for a graph of the same size
and speed, needs two packages more, and writes the paths of the machine into it.
"""

import math
import os
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from stages.formats.albert_config import Mismatch
from stages.handover.storage import whole_file

NAME = "model.onnx"
# Operators as of onnx 1.15: the first set with Gelu, and with its tanh form. onnxruntime 1.17 and later read it.
OPSET = 20
IR = 9
INPUTS = ("input_ids", "attention_mask", "token_type_ids")
OUTPUT = "logits"
WORDS = "albert.embeddings.word_embeddings.weight"
# transformers' name of an activation → the operator and its attributes.
ACTIVATIONS: dict[str, tuple[str, dict[str, str]]] = {
    "gelu_new": ("Gelu", {"approximate": "tanh"}),
    "relu": ("Relu", {}),
    "tanh": ("Tanh", {}),
    "linear": ("Identity", {}),
}
# Values of a row that share a scale. A row has a few large ones, which would make the others coarse.
BLOCK = 32
# What protobuf takes in one message, less a little for the graph.
LARGEST = (1 << 31) - (1 << 20)
Array = NDArray[Any]


def check_activation(name: str) -> None:
    """Mismatch for an activation that has no operator."""
    if name not in ACTIVATIONS:
        raise Mismatch(f"hidden_act is {name} in the configuration; model.onnx knows {', '.join(ACTIVATIONS)} alone")


def write_onnx(
    folder: str, config: dict[str, Any], arrays: dict[str, NDArray[np.float32]], compact: bool = False
) -> None:
    """Write model.onnx into `folder`: int64 ids, mask, types (batch, sequence) → logits (batch, sequence, vocabulary).

    Each array is in the file once, however many layers use it: its size is that of the masked LM's parameters, and the
    same weights give the same bytes. compact: token embeddings as int8 with a scale for every BLOCK of a row, all else
    as float16; computed in float32. Raises Mismatch for a model of over 2 GB, which one file cannot hold.
    """
    graph = _Graph(config, arrays, compact)
    graph.masked_lm()
    if sum(tensor.ByteSize() for tensor in graph.tensors.values()) > LARGEST:
        raise Mismatch("the model has over 2 GB, more than one ONNX file can hold")
    shape = ["batch", "sequence"]
    made = helper.make_graph(
        graph.nodes,
        "albert_masked_lm",
        [helper.make_tensor_value_info(name, TensorProto.INT64, shape) for name in INPUTS],
        [helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, [*shape, config["vocab_size"]])],
        list(graph.tensors.values()),
    )
    model = helper.make_model(
        made, producer_name="albert-ja", ir_version=IR, opset_imports=[helper.make_opsetid("", OPSET)]
    )
    onnx.checker.check_model(model)
    with whole_file(os.path.join(folder, NAME)) as stream:
        stream.write(model.SerializeToString(deterministic=True))


class _Graph:
    """The nodes in the order of their use. Hidden states are (batch × sequence, width): a dense layer is one Gemm."""

    def __init__(self, config: dict[str, Any], arrays: dict[str, NDArray[np.float32]], compact: bool) -> None:
        self.config, self.arrays, self.compact = config, arrays, compact
        self.nodes: list[onnx.NodeProto] = []
        self.tensors: dict[str, onnx.TensorProto] = {}

    def node(self, kind: str, *inputs: str, to: str = "", **attributes: Any) -> str:
        """Add a node with one output; gives the output's name."""
        name = to or f"{kind.lower()}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, inputs, [name], name=name, **attributes))
        return name

    def weight(self, name: str) -> str:
        """An array of the model, under its own name."""
        if self.compact and name == WORDS:
            return self._scaled(name)
        kept = f"{name}.float16" if self.compact else name
        if kept not in self.tensors:
            values = self.arrays[name].astype(np.float16) if self.compact else self.arrays[name]
            self.tensors[kept] = numpy_helper.from_array(values, kept)
            if self.compact:
                self.nodes.append(helper.make_node("Cast", [kept], [name], name=name, to=TensorProto.FLOAT))
        return name

    def _scaled(self, name: str) -> str:
        """A table as int8, and the nodes that make float32 of it; onnxruntime does that when it loads the file."""
        kept, scale = f"{name}.int8", f"{name}.scale"
        if kept not in self.tensors:
            width = self.arrays[name].shape[1]
            blocks = self.arrays[name].reshape(-1, math.gcd(width, BLOCK))
            scales = np.maximum(np.abs(blocks).max(1) / 127, np.finfo(np.float32).tiny)
            rounded = np.rint(blocks / scales[:, None]).astype(np.int8)
            self.tensors[kept] = numpy_helper.from_array(rounded, kept)
            self.tensors[scale] = numpy_helper.from_array(scales.astype(np.float32), scale)
            values = self.node("DequantizeLinear", kept, scale, axis=0)
            self.node("Reshape", values, self.constant(f"{name}.shape", [-1, width]), to=name)
        return name

    def constant(self, name: str, value: Any, kind: type = np.int64) -> str:
        self.tensors.setdefault(name, numpy_helper.from_array(np.array(value, kind), name))
        return name

    def dense(self, name: str, values: str) -> str:
        """x Wᵀ + b, with W as PyTorch keeps it: (out, in)."""
        return self.node("Gemm", values, self.weight(f"{name}.weight"), self.weight(f"{name}.bias"), transB=1)

    def norm(self, name: str, values: str) -> str:
        weights = self.weight(f"{name}.weight"), self.weight(f"{name}.bias")
        return self.node("LayerNormalization", values, *weights, axis=-1, epsilon=self.config["layer_norm_eps"])

    def activation(self, values: str) -> str:
        kind, attributes = ACTIVATIONS[self.config["hidden_act"]]
        return self.node(kind, values, **attributes)

    def masked_lm(self) -> None:
        """All of it, from ids to logits."""
        ids, mask, types = INPUTS
        self.size = self.node("Shape", ids)  # (batch, sequence)
        length = self.node("Shape", ids, start=1, end=2)
        self.width = self.node(
            "Concat", self.size, self.constant("heads", [self.config["num_attention_heads"], -1]), axis=0
        )
        ignored = self._ignored(mask)
        hidden = self._embeddings(ids, types, length)
        hidden = self.dense("albert.encoder.embedding_hidden_mapping_in", hidden)
        layers, groups = self.config["num_hidden_layers"], self.config["num_hidden_groups"]
        for layer in range(layers):
            group = f"albert.encoder.albert_layer_groups.{layer * groups // layers}"
            for inner in range(self.config["inner_group_num"]):
                hidden = self._layer(f"{group}.albert_layers.{inner}", hidden, ignored)
        self._head(hidden)

    def _ignored(self, mask: str) -> str:
        """(batch, 1, 1, sequence): 0 for tokens, the least number for padding, which so gets no attention at all."""
        absent = self.node("Equal", mask, self.constant("zero", 0))
        least = self.constant("least", np.finfo(np.float32).min, np.float32)
        scores = self.node("Where", absent, least, self.constant("nothing", 0, np.float32))
        return self.node("Unsqueeze", scores, self.constant("axes_1_2", [1, 2]))

    def _embeddings(self, ids: str, types: str, length: str) -> str:
        tables = "albert.embeddings.{}_embeddings.weight"
        words = self.node("Gather", self.weight(WORDS), ids)
        kinds = self.node("Gather", self.weight(tables.format("token_type")), types)
        zero = self.constant("from_0", [0])
        places = self.node("Slice", self.weight(tables.format("position")), zero, length, zero)
        total = self.node("Add", self.node("Add", words, kinds), places)
        flat = self.node("Reshape", total, self.constant("rows", [-1, self.config["embedding_size"]]))
        return self.norm("albert.embeddings.LayerNorm", flat)

    def _layer(self, name: str, hidden: str, ignored: str) -> str:
        """Attention and feed-forward network, each with its residual connection and layer normalisation behind it."""
        attended = self.dense(f"{name}.attention.dense", self._attention(f"{name}.attention", hidden, ignored))
        hidden = self.norm(f"{name}.attention.LayerNorm", self.node("Add", hidden, attended))
        inner = self.activation(self.dense(f"{name}.ffn", hidden))
        return self.norm(
            f"{name}.full_layer_layer_norm", self.node("Add", self.dense(f"{name}.ffn_output", inner), hidden)
        )

    def _attention(self, name: str, hidden: str, ignored: str) -> str:
        """softmax(Q Kᵀ / √d + mask) V of every head, side by side again."""

        def heads(part: str, order: tuple[int, ...]) -> str:
            split = self.node("Reshape", self.dense(f"{name}.{part}", hidden), self.width)
            return self.node("Transpose", split, perm=order)

        by_head = (0, 2, 1, 3)
        scores = self.node("MatMul", heads("query", by_head), heads("key", (0, 2, 3, 1)))
        size = self.config["hidden_size"] // self.config["num_attention_heads"]
        scores = self.node("Mul", scores, self.constant("scale", size**-0.5, np.float32))
        shares = self.node("Softmax", self.node("Add", scores, ignored), axis=-1)
        joined = self.node("Transpose", self.node("MatMul", shares, heads("value", by_head)), perm=by_head)
        return self.node("Reshape", joined, self.constant("hidden", [-1, self.config["hidden_size"]]))

    def _head(self, hidden: str) -> None:
        """The decoder is the table of word embeddings, with a bias of its own."""
        hidden = self.norm("predictions.LayerNorm", self.activation(self.dense("predictions.dense", hidden)))
        table = self.weight(WORDS)
        logits = self.node("Gemm", hidden, table, self.weight("predictions.bias"), transB=1)
        shape = self.node("Concat", self.size, self.constant("to_the_end", [-1]), axis=0)
        self.node("Reshape", logits, shape, to=OUTPUT)
