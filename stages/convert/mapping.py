"""TensorFlow's names and layouts of ALBERT's variables → those of transformers' AlbertForPreTraining."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from stages.convert.checkpoint import Checkpoint
from stages.formats.albert_config import Mismatch


class Rule(NamedTuple):
    """One variable: its TensorFlow name, its transformers name, its shape in TensorFlow, whether it is transposed."""

    tensorflow: str
    transformers: str
    shape: tuple[int, ...]
    transposed: bool = False


def rules(config: dict[str, Any]) -> list[Rule]:
    """Every variable of the architecture. Dense kernels are (in, out) in TensorFlow and (out, in) in PyTorch."""
    vocabulary, embedding, hidden = config["vocab_size"], config["embedding_size"], config["hidden_size"]
    intermediate = config["intermediate_size"]
    found: list[Rule] = []

    def dense(tensorflow: str, transformers: str, inputs: int, outputs: int) -> None:
        found.append(Rule(f"{tensorflow}/kernel", f"{transformers}.weight", (inputs, outputs), True))
        found.append(Rule(f"{tensorflow}/bias", f"{transformers}.bias", (outputs,)))

    def norm(tensorflow: str, transformers: str, size: int) -> None:
        found.append(Rule(f"{tensorflow}/gamma", f"{transformers}.weight", (size,)))
        found.append(Rule(f"{tensorflow}/beta", f"{transformers}.bias", (size,)))

    for name, entries in (
        ("word", vocabulary),
        ("position", config["max_position_embeddings"]),
        ("token_type", config["type_vocab_size"]),
    ):
        target = f"albert.embeddings.{name}_embeddings.weight"
        found.append(Rule(f"bert/embeddings/{name}_embeddings", target, (entries, embedding)))
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
    found.append(Rule("cls/predictions/output_bias", "predictions.bias", (vocabulary,)))
    found.append(Rule("cls/seq_relationship/output_weights", "sop_classifier.classifier.weight", (2, hidden)))
    found.append(Rule("cls/seq_relationship/output_bias", "sop_classifier.classifier.bias", (2,)))
    return found


def weights(checkpoint: Checkpoint, config: dict[str, Any]) -> dict[str, NDArray[np.float32]]:
    """The checkpoint's weights under transformers' names; raises Mismatch for one that is missing or of another shape.

    Optimizer slots and the step are left where they are; a model variable that the configuration does not
    call for (a second hidden group, say) is refused, as the model would not be the one that was trained.
    """
    wanted = rules(config)
    arrays = {}
    for rule in wanted:
        variable = checkpoint.variables.get(rule.tensorflow)
        if variable is None:
            raise Mismatch(
                f"{checkpoint.prefix} has no variable {rule.tensorflow}; it is not this configuration's ALBERT"
            )
        if variable.shape != rule.shape:
            raise Mismatch(
                f"variable {rule.tensorflow} of {checkpoint.prefix} is {size(variable.shape)}, "
                f"but {size(rule.shape)} in the configuration"
            )
        array = checkpoint.read(rule.tensorflow)
        if array.dtype != np.float32:
            raise Mismatch(f"variable {rule.tensorflow} of {checkpoint.prefix} holds {array.dtype}, not float32")
        arrays[rule.transformers] = np.ascontiguousarray(array.T if rule.transposed else array)
    known = {rule.tensorflow for rule in wanted}
    for name in sorted(checkpoint.variables):
        of_the_model = name.startswith("bert/") and not name.split("/")[-1].startswith(("adam", "lamb", "Adam"))
        if of_the_model and name not in known:
            raise Mismatch(f"variable {name} of {checkpoint.prefix} has no place in the configuration")
    refuse_not_finite(arrays, checkpoint.prefix)
    return arrays


def refuse_not_finite(arrays: dict[str, NDArray[np.float32]], where: str) -> None:
    """Mismatch for weights that are NaN or infinite: the model would say nothing but NaN."""
    for name, array in arrays.items():
        # In double precision the sum of single ones is finite where all of them are.
        if not np.isfinite(array.sum(dtype=np.float64)):
            raise Mismatch(f"weight {name} of {where} holds NaN or infinity; take a checkpoint from before it diverged")


def size(shape: tuple[int, ...]) -> str:
    """A shape for a person: 24 × 40."""
    return " × ".join(map(str, shape))
