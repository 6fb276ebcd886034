"""The names and layouts of ALBERT's variables in TensorFlow → those in transformers' AlbertForPreTraining."""

from typing import Any, NamedTuple


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
    positions, types = config["max_position_embeddings"], config["type_vocab_size"]
    result = [
        Rule(f"bert/embeddings/{name}_embeddings", f"albert.embeddings.{name}_embeddings.weight", (entries, embedding))
        for name, entries in (("word", vocabulary), ("position", positions), ("token_type", types))
    ]

    def dense(tensorflow: str, transformers: str, inputs: int, outputs: int) -> None:
        result.append(Rule(f"{tensorflow}/kernel", f"{transformers}.weight", (inputs, outputs), True))
        result.append(Rule(f"{tensorflow}/bias", f"{transformers}.bias", (outputs,)))

    def norm(tensorflow: str, transformers: str, size: int) -> None:
        result.append(Rule(f"{tensorflow}/gamma", f"{transformers}.weight", (size,)))
        result.append(Rule(f"{tensorflow}/beta", f"{transformers}.bias", (size,)))

    norm("bert/embeddings/LayerNorm", "albert.embeddings.LayerNorm", embedding)
    mapping_in = "embedding_hidden_mapping_in"
    dense(f"bert/encoder/{mapping_in}", f"albert.encoder.{mapping_in}", embedding, hidden)
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
