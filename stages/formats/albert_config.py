"""A file or a JSON value → the configuration of an ALBERT in TensorFlow's form, checked; and in transformers' form."""

from typing import Any, Dict

from stages.command.refusal import Refusal
from stages.handover.manifests import read_json

SIZES = (
    "vocab_size",
    "embedding_size",
    "hidden_size",
    "num_hidden_layers",
    "num_hidden_groups",
    "num_attention_heads",
    "intermediate_size",
    "inner_group_num",
    "max_position_embeddings",
    "type_vocab_size",
)
ACTIVATIONS = ("gelu", "relu", "tanh", "linear")


def check_config(config: Any, path: str) -> Dict[str, Any]:
    """``config`` as read from ``path``, when Google's ALBERT can be built from it."""
    if not isinstance(config, dict):
        raise Refusal("%s is not an ALBERT configuration: it holds no JSON object" % path)
    for name in SIZES:
        value = config.get(name)
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            said = "has no %s" % name if value is None else "says %s %r" % (name, value)
            raise Refusal("%s %s; ALBERT needs a whole number from 1 up there" % (path, said))
    if config["hidden_size"] % config["num_attention_heads"]:
        raise Refusal(
            "%s: hidden_size %d is not a multiple of num_attention_heads %d"
            % (path, config["hidden_size"], config["num_attention_heads"])
        )
    if config.get("hidden_act", "gelu") not in ACTIVATIONS:
        raise Refusal("%s: hidden_act %r is none of %s" % (path, config["hidden_act"], ", ".join(ACTIVATIONS)))
    return config


def read_config(path: str) -> Dict[str, Any]:
    """The configuration in a file, checked."""
    return check_config(read_json(path), path)


def model_config(config: Dict[str, Any]) -> Dict[str, Any]:
    """TensorFlow's configuration → the arguments of transformers' AlbertConfig.

    TensorFlow ALBERT's `gelu` is the tanh form, which transformers calls `gelu_new`. Its sentence order
    head has no dropout, transformers' has unless told. Layer normalisation: epsilon 1e-12 in both.
    """
    needed = (
        "vocab_size", "embedding_size", "hidden_size", "num_hidden_layers", "num_attention_heads",
        "intermediate_size", "max_position_embeddings", "type_vocab_size",
    )  # fmt: skip
    for name in needed:
        if not isinstance(config.get(name), int) or config[name] < 1:
            raise Refusal("the configuration has no %s (a whole number); is it one of an ALBERT?" % name)
    for name, only in (("net_structure_type", 0), ("num_memory_blocks", 0)):
        if config.get(name, only) != only:
            raise Refusal(
                "%s is %s in the configuration; transformers' ALBERT knows %s alone" % (name, config[name], only)
            )
    if config["hidden_size"] % config["num_attention_heads"]:
        raise Refusal("hidden_size is not a multiple of num_attention_heads in the configuration")
    activation = config.get("hidden_act", "gelu")
    return {
        **{name: config[name] for name in needed},
        "num_hidden_groups": config.get("num_hidden_groups", 1),
        "inner_group_num": config.get("inner_group_num", 1),
        "hidden_act": "gelu_new" if activation == "gelu" else activation,
        "hidden_dropout_prob": config.get("hidden_dropout_prob", 0.0),
        "attention_probs_dropout_prob": config.get("attention_probs_dropout_prob", 0.0),
        "classifier_dropout_prob": 0.0,
        "initializer_range": config.get("initializer_range", 0.02),
        "layer_norm_eps": 1e-12,
        "pad_token_id": 0,
        "bos_token_id": 2,
        "eos_token_id": 3,
    }
