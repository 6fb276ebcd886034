"""A file or a JSON value → the configuration of an ALBERT in TensorFlow's form, checked; and in transformers' form."""

from typing import Any, Dict

from stages.command.refusal import Refusal
from stages.handover.manifests import read_json

SIZES = (
    "vocab_size", "embedding_size", "hidden_size", "num_hidden_layers", "num_hidden_groups", "num_attention_heads",
    "intermediate_size", "inner_group_num", "max_position_embeddings", "type_vocab_size",
)  # fmt: skip
ACTIVATIONS = ("gelu", "relu", "tanh", "linear")
# What is optional for transformers' form.
DEFAULTS = {
    "num_hidden_groups": 1, "inner_group_num": 1, "hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0,
    "initializer_range": 0.02,
}  # fmt: skip


def check_config(config: Any, path: str) -> Dict[str, Any]:
    """``config`` as read from ``path``. Refuses one from which Google's ALBERT cannot be built."""
    if not isinstance(config, dict):
        raise Refusal(f"{path} is not an ALBERT configuration: it holds no JSON object")
    for name in SIZES:
        value = config.get(name)
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            fault = f"has no {name}" if value is None else f"says {name} {value!r}"
            raise Refusal(f"{path} {fault}; ALBERT needs a whole number from 1 up there")
    hidden, heads = config["hidden_size"], config["num_attention_heads"]
    if hidden % heads:
        raise Refusal(f"{path}: hidden_size {hidden} is not a multiple of num_attention_heads {heads}")
    if config.get("hidden_act", "gelu") not in ACTIVATIONS:
        raise Refusal(f"{path}: hidden_act {config['hidden_act']!r} is none of {', '.join(ACTIVATIONS)}")
    return config


def read_config(path: str) -> Dict[str, Any]:
    """The configuration in a file, checked."""
    return check_config(read_json(path), path)


def model_config(config: Dict[str, Any]) -> Dict[str, Any]:
    """TensorFlow's configuration → the arguments of transformers' AlbertConfig.

    TensorFlow ALBERT's `gelu` is the tanh form, which transformers calls `gelu_new`. Its sentence order
    head has no dropout, transformers' has unless told. Layer normalisation: epsilon 1e-12 in both.
    """
    needed = [name for name in SIZES if name not in DEFAULTS]
    for name in needed:
        if not isinstance(config.get(name), int) or config[name] < 1:
            raise Refusal(f"the configuration has no {name} (a whole number); is it one of an ALBERT?")
    for name in ("net_structure_type", "num_memory_blocks"):
        if config.get(name, 0) != 0:
            raise Refusal(f"{name} is {config[name]} in the configuration; transformers' ALBERT knows 0 alone")
    if config["hidden_size"] % config["num_attention_heads"]:
        raise Refusal("hidden_size is not a multiple of num_attention_heads in the configuration")
    activation = config.get("hidden_act", "gelu")
    return {
        **{name: config[name] for name in needed},
        **{name: config.get(name, default) for name, default in DEFAULTS.items()},
        "hidden_act": "gelu_new" if activation == "gelu" else activation,
        "classifier_dropout_prob": 0.0,
        "layer_norm_eps": 1e-12,
        "pad_token_id": 0,
        "bos_token_id": 2,
        "eos_token_id": 3,
    }
