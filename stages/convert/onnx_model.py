"""A configuration and arrays under transformers' names → model.onnx, the masked LM as a graph that needs no PyTorch.

The graph is built node by node, in 1.5 s for a base model. PyTorch's exporter took 93 s for a graph of the same size
and speed. It needs two more packages, and it writes paths of the machine into the file.
"""

import math
import os
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from stages.command.refusal import Refusal
from stages.handover.storage import whole_file

NAME = "model.onnx"
# The operators of onnx 1.15, the first set with Gelu and its tanh form. onnxruntime 1.17 and later read it.
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
# Number of values of a row that share a scale. With one scale a row, its few large values make the others coarse.
BLOCK = 32
# The limit of a protobuf message in bytes, less 1 MiB for the graph.
LARGEST = (1 << 31) - (1 << 20)
Array = NDArray[np.float32]


def write_onnx(folder: str, config: dict[str, Any], arrays: dict[str, Array], compact: bool = False) -> None:
    """Write model.onnx into `folder`: int64 ids, mask, types (batch, sequence) → logits (batch, sequence, vocabulary).

    Each array is stored once, also if several layers use it. The same weights give the same bytes. compact: token
    embeddings are int8 with a scale for each BLOCK of a row, other weights float16; the computation is in float32.
    Raises Refusal for a model of more than 2 GB, the limit of one file.
    """
    graph = _Graph(config, arrays, compact)
    graph.masked_lm()
    if sum(tensor.ByteSize() for tensor in graph.tensors.values()) > LARGEST:
        raise Refusal("the model has over 2 GB, more than one ONNX file can hold")
    shape = ["batch", "sequence"]
    inputs = [helper.make_tensor_value_info(name, TensorProto.INT64, shape) for name in INPUTS]
    logits = helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, [*shape, config["vocab_size"]])
    content = helper.make_graph(graph.nodes, "albert_masked_lm", inputs, [logits], list(graph.tensors.values()))
    operators = [helper.make_opsetid("", OPSET)]
    model = helper.make_model(content, producer_name="albert-ja", ir_version=IR, opset_imports=operators)
    onnx.checker.check_model(model)
    with whole_file(os.path.join(folder, NAME)) as stream:
        stream.write(model.SerializeToString(deterministic=True))


class _Graph:
    """The nodes in order of use. Hidden states are (batch × sequence, width), so that a dense layer is one Gemm."""

    def __init__(self, config: dict[str, Any], arrays: dict[str, Array], compact: bool) -> None:
        self.config, self.arrays, self.compact = config, arrays, compact
        self.nodes: list[onnx.NodeProto] = []
        self.tensors: dict[str, onnx.TensorProto] = {}

    def masked_lm(self) -> None:
        """All of it, from ids to logits."""
        ids, mask, types = INPUTS
        size = self.node("Shape", ids)  # (batch, sequence)
        length = self.node("Shape", ids, start=1, end=2)
        heads = self.constant("heads", [self.config["num_attention_heads"], -1])
        self.by_head = self.node("Concat", size, heads, axis=0)
        # (batch, 1, 1, sequence): 0 for tokens, the smallest float32 for padding, whose attention becomes 0.
        padding = self.node("Equal", mask, self.constant("zero", 0))
        least = self.constant("least", np.finfo(np.float32).min, np.float32)
        scores = self.node("Where", padding, least, self.constant("nothing", 0, np.float32))
        bias = self.node("Unsqueeze", scores, self.constant("axes_1_2", [1, 2]))

        words = self.node("Gather", self.weight(WORDS), ids)
        token_types = self.node("Gather", self.weight(WORDS.replace("word", "token_type")), types)
        zero = self.constant("from_0", [0])
        positions = self.node("Slice", self.weight(WORDS.replace("word", "position")), zero, length, zero)
        total = self.node("Add", self.node("Add", words, token_types), positions)
        flat = self.node("Reshape", total, self.constant("rows", [-1, self.config["embedding_size"]]))
        embeddings = self.norm("albert.embeddings.LayerNorm", flat)

        hidden = self.dense("albert.encoder.embedding_hidden_mapping_in", embeddings)
        layers, groups = self.config["num_hidden_layers"], self.config["num_hidden_groups"]
        for layer in range(layers):
            group = f"albert.encoder.albert_layer_groups.{layer * groups // layers}"
            for inner in range(self.config["inner_group_num"]):
                hidden = self.layer(f"{group}.albert_layers.{inner}", hidden, bias)

        hidden = self.norm("predictions.LayerNorm", self.activation(self.dense("predictions.dense", hidden)))
        # The decoder is the table of word embeddings with its own bias.
        logits = self.node("Gemm", hidden, self.weight(WORDS), self.weight("predictions.bias"), transB=1)
        shape = self.node("Concat", size, self.constant("to_the_end", [-1]), axis=0)
        self.node("Reshape", logits, shape, output=OUTPUT)

    def layer(self, name: str, hidden: str, bias: str) -> str:
        """Attention and feed-forward network, each followed by its residual connection and layer normalisation."""
        attended = self.dense(f"{name}.attention.dense", self.attention(f"{name}.attention", hidden, bias))
        hidden = self.norm(f"{name}.attention.LayerNorm", self.node("Add", hidden, attended))
        inner = self.dense(f"{name}.ffn_output", self.activation(self.dense(f"{name}.ffn", hidden)))
        return self.norm(f"{name}.full_layer_layer_norm", self.node("Add", inner, hidden))

    def attention(self, name: str, hidden: str, bias: str) -> str:
        """softmax(Q Kᵀ / √d + bias) V of each head, concatenated."""

        def heads(part: str, order: tuple[int, ...] = (0, 2, 1, 3)) -> str:
            split = self.node("Reshape", self.dense(f"{name}.{part}", hidden), self.by_head)
            return self.node("Transpose", split, perm=order)

        scores = self.node("MatMul", heads("query"), heads("key", (0, 2, 3, 1)))
        size = self.config["hidden_size"] // self.config["num_attention_heads"]
        scores = self.node("Mul", scores, self.constant("scale", size**-0.5, np.float32))
        shares = self.node("Softmax", self.node("Add", scores, bias), axis=-1)
        joined = self.node("Transpose", self.node("MatMul", shares, heads("value")), perm=(0, 2, 1, 3))
        return self.node("Reshape", joined, self.constant("hidden", [-1, self.config["hidden_size"]]))

    def dense(self, name: str, values: str) -> str:
        """x Wᵀ + b, W in PyTorch's layout (out, in)."""
        return self.node("Gemm", values, self.weight(f"{name}.weight"), self.weight(f"{name}.bias"), transB=1)

    def norm(self, name: str, values: str) -> str:
        weights = self.weight(f"{name}.weight"), self.weight(f"{name}.bias")
        return self.node("LayerNormalization", values, *weights, axis=-1, epsilon=self.config["layer_norm_eps"])

    def activation(self, values: str) -> str:
        kind, attributes = ACTIVATIONS[self.config["hidden_act"]]
        return self.node(kind, values, **attributes)

    def weight(self, name: str) -> str:
        """Add an array of the model, if it is not there. Returns its name."""
        array = self.arrays[name]
        if not self.compact:
            return self.constant(name, array, array.dtype)
        stored = f"{name}.int8" if name == WORDS else f"{name}.float16"
        if stored in self.tensors:
            return name
        if name != WORDS:
            return self.node("Cast", self.constant(stored, array, np.float16), output=name, to=TensorProto.FLOAT)
        # onnxruntime converts it to float32 when it loads the file.
        blocks = array.reshape(-1, math.gcd(array.shape[1], BLOCK))
        scales = np.maximum(np.abs(blocks).max(1) / 127, np.finfo(np.float32).tiny)
        self.constant(stored, np.rint(blocks / scales[:, None]), np.int8)
        scale = self.constant(f"{name}.scale", scales, np.float32)
        values = self.node("DequantizeLinear", stored, scale, axis=0)
        return self.node("Reshape", values, self.constant(f"{name}.shape", [-1, array.shape[1]]), output=name)

    def constant(self, name: str, value: Any, kind: Any = np.int64) -> str:
        """Add an array, if it is not there. Returns its name."""
        if name not in self.tensors:
            self.tensors[name] = numpy_helper.from_array(np.asarray(value, kind), name)
        return name

    def node(self, kind: str, *inputs: str, output: str = "", **attributes: Any) -> str:
        """Add a node with one output. Returns the name of the output."""
        name = output or f"{kind.lower()}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, inputs, [name], name=name, **attributes))
        return name
