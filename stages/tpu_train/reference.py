"""A checkpoint + its configuration → TensorFlow 1.15's own logits for fixed inputs, with which convert compares.

The inputs depend on the configuration alone: sequences of several lengths with padding, both segments, masked
positions, and random token ids with a fixed seed.
"""

import argparse
import io
import json
import sys
from typing import Any, Dict, List, Tuple

import numpy as np

from stages.command.options import HelpFormatter
from stages.command.refusal import Refusal
from stages.command.running import run
from stages.formats.albert_config import check_config
from stages.handover import storage
from stages.handover.manifests import read_json
from stages.tpu_train import checkpoints
from stages.tpu_train.tensorflow_albert import modeling, run_pretraining, tf

# int32 arrays, the first three [B, L], the last one [B, P].
INPUTS = ("input_ids", "input_mask", "segment_ids", "masked_lm_positions")
SEQUENCES = 4
LENGTH = 128
POSITIONS = 8
SEED = 20230424


def pretraining_logits(config: Dict[str, Any], inputs: Dict[str, Any]) -> Tuple[Any, Any]:
    """ALBERT with both heads on the tensors INPUTS, in the current graph.

    Return masked language model logits [B * P, V] and sentence order logits [B, 2], before the softmax.
    """
    albert = modeling.AlbertConfig.from_dict(config)
    ids, mask, segments, positions = (inputs[name] for name in INPUTS)
    model = modeling.AlbertModel(albert, is_training=False, input_ids=ids, input_mask=mask, token_type_ids=segments)
    zeros = tf.zeros_like(positions)
    _, _, masked = run_pretraining.get_masked_lm_output(
        albert, model.get_sequence_output(), model.get_embedding_table(), positions, zeros, tf.cast(zeros, tf.float32)
    )
    _, _, order = run_pretraining.get_sentence_order_output(albert, model.get_pooled_output(), zeros[:, 0])
    # Both functions return log-probabilities. The logits are the inputs of their LogSoftmax.
    for log_probabilities in (masked, order):
        assert log_probabilities.op.type == "LogSoftmax", log_probabilities.op
    return masked.op.inputs[0], order.op.inputs[0]


def check_checkpoint(prefix: str, config: Dict[str, Any]) -> None:
    """``Refusal`` if ``prefix`` is no complete checkpoint, or lacks a variable of ``config``'s model."""
    shapes = checkpoints.read_through(prefix, prefix)
    with tf.Graph().as_default():
        pretraining_logits(config, dict.fromkeys(INPUTS, tf.zeros([1, 1], tf.int32)))
        for variable in tf.trainable_variables():
            name, shape = variable.op.name, variable.shape.as_list()
            if name not in shapes:
                raise Refusal(f"{prefix} has no variable {name}; it is of another architecture")
            if shapes[name] != shape:
                raise Refusal(
                    f"{prefix} has variable {name} of shape {shapes[name]}, the configuration needs {shape}; they are "
                    "of different models"
                )


def reference_inputs(config: Dict[str, Any], sequences: int = SEQUENCES) -> Dict[str, Any]:
    """The arrays INPUTS.

    L is 128 or max_position_embeddings, if that is less. Sequence i has (B - i) / B of L as tokens, the last third of
    them in segment 1. P is 8 or the length of the shortest sequence, if that is less.
    """
    random = np.random.RandomState(SEED)
    length = min(LENGTH, config["max_position_embeddings"])
    lengths = [max(1, length * (sequences - i) // sequences) for i in range(sequences)]
    positions = np.arange(length)
    mask = positions < np.array(lengths)[:, None]
    second = mask & (positions >= np.array([tokens - tokens // 3 for tokens in lengths])[:, None])
    ids = np.where(mask, random.randint(0, config["vocab_size"], (sequences, length)), 0)
    masked = [np.sort(random.permutation(tokens)[: min(POSITIONS, lengths[-1])]) for tokens in lengths]
    arrays = (ids, mask, np.minimum(second, config["type_vocab_size"] - 1), np.stack(masked))
    return {name: array.astype(np.int32) for name, array in zip(INPUTS, arrays)}


def write_reference(checkpoint: str, config: Dict[str, Any], out: str, sequences: int = SEQUENCES) -> None:
    """Run the model of ``checkpoint``, a prefix, and write the npz file ``out``; README.md lists its arrays.

    ``Refusal`` for a checkpoint of another model.
    """
    check_checkpoint(checkpoint, config)
    arrays = reference_inputs(config, sequences)
    with tf.Graph().as_default(), tf.Session() as session:
        logits = pretraining_logits(config, {name: tf.constant(array) for name, array in arrays.items()})
        tf.train.Saver(tf.trainable_variables()).restore(session, checkpoint)
        masked, order = session.run(logits)
    arrays["masked_lm_logits"] = masked.reshape((*arrays["masked_lm_positions"].shape, -1))
    arrays["sentence_order_logits"] = order
    arrays["checkpoint_sha256"] = np.array(checkpoints.data_sha256(checkpoint))
    arrays["config_json"] = np.array(json.dumps(config, sort_keys=True))
    # A zip writer seeks, which a mounted bucket does not support.
    archive = io.BytesIO()
    np.savez_compressed(archive, **arrays)
    with storage.whole_file(out) as stream:
        stream.write(archive.getvalue())


def main(arguments: List[str]) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m stages.tpu_train.reference", description=__doc__, formatter_class=HelpFormatter
    )
    add = parser.add_argument
    add("--checkpoint", required=True, metavar="C", help="TensorFlow ALBERT checkpoint, without .index")
    add("--config", required=True, metavar="F", help="its configuration")
    add("--out", required=True, metavar="R.npz", help="file to write")
    add("--sequences", type=int, default=SEQUENCES, choices=range(1, 129), metavar="N", help="sequences in the batch")
    options = parser.parse_args(arguments)
    config = check_config(read_json(options.config), options.config)
    write_reference(options.checkpoint, config, options.out, options.sequences)


if __name__ == "__main__":
    sys.exit(run("tpu-train", main))
