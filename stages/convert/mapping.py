"""The names and layouts of ALBERT's variables in TensorFlow → those in transformers' AlbertForPreTraining."""

from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from stages.convert.checkpoint import Checkpoint
from stages.formats.albert_config import Mismatch


class Rule(NamedTuple):
    """A variable: its name in TensorFlow and in transformers, its shape in TensorFlow, whether it is transposed."""

    tensorflow: str
    transformers: str
    shape: tuple[int, ...]
    transposed: bool = False


def rules(config: dict[str, Any]) -> list[Rule]:
    """All variables of the architecture. Dense kernels are (in, out) in TensorFlow and (out, in) in PyTorch."""
    vocabulary, embedding, hidden = config["vocab_size"], config["embedding_size"], config["hidden_size"]
    intermediate = config["intermediate_size"]
    result: list[Rule] = []

    def dense(tensorflow: str, transformers: str, inputs: int, outputs: int) -> None:
        result.append(Rule(f"{tensorflow}/kernel", f"{transformers}.weight", (inputs, outputs), True))
        result.append(Rule(f"{tensorflow}/bias", f"{transformers}.bias", (outputs,)))

    def norm(tensorflow: str, transformers: str, size: int) -> None:
        result.append(Rule(f"{tensorflow}/gamma", f"{transformers}.weight", (size,)))
        result.append(Rule(f"{tensorflow}/beta", f"{transformers}.bias", (size,)))

    for name, entries in (
        ("word", vocabulary),
        ("position", config["max_position_embeddings"]),
        ("token_type", config["type_vocab_size"]),
    ):
        target = f"albert.embeddings.{name}_embeddings.weight"
        result.append(Rule(f"bert/embeddings/{name}_embeddings", target, (entries, embedding)))
    norm("bert/embeddings/LayerNorm", "albert.embeddings.LayerNorm", embedding)
    dense(
        "bert/encoder/embedding_hidden_mapping_in", "albert.encoder.embedding_hidden_mapping_in", embedding, hidden
    )  # fmt: skip
    for group in range(config["num_hidden_groups"]):
        for inner in range(config["inner_group_num"]):
            source = f"bert/encoder/transformer/group_{group}/inner_group_{inner}"
            target = f"albert.encoder.albert_layer_groups.{group}.albert_layers.{inner}"
            for part in ("query", "key", "value"):
                dense(f"{source}/attention_1/self/{part}", f"{target}.attention.{part}", hidden, hidden)
            dense(f"{source}/attention_1/output/dense", f"{target}.attention.dense", hidden, hidden)
            norm(f"{source}/LayerNorm", f"{target}.attention.LayerNorm", hidden)
            dense(f"{source}/ffn_1/intermediate/dense", f"{target}.ffn", hidden, intermediate)
            dense(f"{source}/ffn_1/intermediate/output/dense", f"{target}.ffn_output", intermediate, hidden)
            norm(f"{source}/LayerNorm_1", f"{target}.full_layer_layer_norm", hidden)
    dense("bert/pooler/dense", "albert.pooler", hidden, hidden)
    dense("cls/predictions/transform/dense", "predictions.dense", hidden, embedding)
    norm("cls/predictions/transform/LayerNorm", "predictions.LayerNorm", embedding)
    result.append(Rule("cls/predictions/output_bias", "predictions.bias", (vocabulary,)))
    result.append(Rule("cls/seq_relationship/output_weights", "sop_classifier.classifier.weight", (2, hidden)))
    result.append(Rule("cls/seq_relationship/output_bias", "sop_classifier.classifier.bias", (2,)))
    return result


def weights(checkpoint: Checkpoint, config: dict[str, Any]) -> dict[str, NDArray[np.float32]]:
    """The checkpoint's weights under transformers' names. Optimizer slots and the step are ignored.

    Raises Mismatch for a missing weight, another shape or type, NaN, infinity, and a model variable that the
    configuration lacks (such as a second hidden group): the result would not be the trained model.
    """
    arrays = {}
    for rule in rules(config):
        variable = checkpoint.variables.get(rule.tensorflow)
        if variable is None:
            raise Mismatch(
                f"{checkpoint.prefix} has no variable {rule.tensorflow}; it is not this configuration's ALBERT"
            )
        if variable.shape != rule.shape:
            raise Mismatch(
                f"variable {rule.tensorflow} of {checkpoint.prefix} is {format_shape(variable.shape)}, "
                f"but {format_shape(rule.shape)} in the configuration"
            )
        array = checkpoint.read(rule.tensorflow)
        if array.dtype != np.float32:
            raise Mismatch(f"variable {rule.tensorflow} of {checkpoint.prefix} holds {array.dtype}, not float32")
        arrays[rule.transformers] = np.ascontiguousarray(array.T if rule.transposed else array)
    names = {rule.tensorflow for rule in rules(config)}
    for name in sorted(checkpoint.variables):
        model_variable = name.startswith("bert/") and not name.split("/")[-1].startswith(("adam", "lamb", "Adam"))
        if model_variable and name not in names:
            raise Mismatch(f"variable {name} of {checkpoint.prefix} has no place in the configuration")
    check_finite(arrays, checkpoint.prefix)
    return arrays


def check_finite(arrays: dict[str, NDArray[np.float32]], path: str) -> None:
    """Raise Mismatch if a weight is NaN or infinite: the outputs of such a model are NaN."""
    for name, array in arrays.items():
        # A sum of finite float32 values is finite in float64.
        if not np.isfinite(array.sum(dtype=np.float64)):
            raise Mismatch(f"weight {name} of {path} holds NaN or infinity; take a checkpoint from before it diverged")


def format_shape(shape: Iterable[int]) -> str:
    """A shape as text: 24 × 40."""
    return " × ".join(map(str, shape))
