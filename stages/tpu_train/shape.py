"""A model configuration + what the TFRecords hold → the configuration that is trained, or why there is none."""

from typing import Any, Dict, Iterator

from stages.handover import Refusal
from stages.tpu_train.shards import Shards

VOCAB_FLAG = "--vocab-size-from-tfrecords"
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


def disagreements(config: Dict[str, Any], shards: Shards, options: Any) -> Iterator[str]:
    """Every reason why ``shards`` cannot train the model of ``config`` as the flags say, of either trainer."""
    for flag, asked, found in (
        ("--seq-length", options.seq_length, shards.seq_length),
        ("--max-predictions", options.max_predictions, shards.max_predictions),
    ):
        if asked not in (None, found):
            yield "%s was made with %s %d, not %d; leave the flag out or make the TFRecords again" % (
                shards.folder, flag, found, asked,
            )  # fmt: skip
    if options.on_tpu and shards.held_out_examples < options.eval_batch:
        yield (
            "the held-out files of %s have %d examples, a TPU evaluates whole batches of --eval-batch %d; "
            "hold out more with --held-out" % (shards.folder, shards.held_out_examples, options.eval_batch)
        )
    if shards.unmasked and not getattr(options, "masks_anew", False):
        yield (
            "%s was made with --unmasked, so that nothing is to be predicted; train masks it with --dynamic-masking, "
            "or make the TFRecords without" % shards.folder
        )
    longest = config["max_position_embeddings"]
    if shards.seq_length > longest:
        yield (
            "%s holds sequences of %d tokens, %s has max_position_embeddings %d; "
            "make the TFRecords with --seq-length %d"
            % (shards.folder, shards.seq_length, options.config, longest, longest)
        )
    if options.vocab_size_from_tfrecords:
        if shards.vocab_size is None:
            yield "%s has no manifest that gives a vocabulary size; leave out %s" % (shards.folder, VOCAB_FLAG)
    elif shards.vocab_size not in (None, config["vocab_size"]):
        yield (
            "%s was made with a vocabulary of %d, %s has vocab_size %d; name the configuration of that vocabulary, "
            "or add %s to train a model of %d"
            % (shards.folder, shards.vocab_size, options.config, config["vocab_size"], VOCAB_FLAG, shards.vocab_size)
        )
    elif shards.largest_id is not None and shards.largest_id >= config["vocab_size"]:
        yield (
            "%s holds token id %d; %s has vocab_size %d: name the configuration of the vocabulary it was made with"
            % (shards.folder, shards.largest_id, options.config, config["vocab_size"])
        )


def trained_config(config: Dict[str, Any], shards: Shards, options: Any) -> Dict[str, Any]:
    """The configuration of the model that ``shards`` will train, where the two do not disagree."""
    return dict(config, vocab_size=shards.vocab_size) if options.vocab_size_from_tfrecords else config
