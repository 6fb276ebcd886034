"""A checkpoint + its configuration → TensorFlow 1.15's own logits for fixed inputs, with which convert compares.

The inputs depend on the configuration alone: sequences of several lengths with padding, both segments, masked
positions, and random token ids with a fixed seed.
"""

import argparse
import io
import json
import sys
from typing import Any, Dict, List

import numpy as np

from stages.command.options import HelpFormatter
from stages.command.running import run
from stages.formats.albert_config import check_config
from stages.handover import storage
from stages.handover.manifests import read_json
from stages.tpu_train import checkpoints
from stages.tpu_train.tensorflow_albert import tf

SEQUENCES = 4
LENGTH = 128
POSITIONS = 8
SEED = 20230424


def reference_inputs(config: Dict[str, Any], sequences: int = SEQUENCES) -> Dict[str, Any]:
    """int32 arrays input_ids, input_mask, segment_ids [B, L] and masked_lm_positions [B, P].

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
    arrays = {
        "input_ids": ids,
        "input_mask": mask,
        "segment_ids": np.minimum(second, config["type_vocab_size"] - 1),
        "masked_lm_positions": np.stack(masked),
    }
    return {name: array.astype(np.int32) for name, array in arrays.items()}


def write_reference(checkpoint: str, config: Dict[str, Any], out: str, sequences: int = SEQUENCES) -> None:
    """Run the model of ``checkpoint``, a prefix, and write the npz file ``out``; README.md lists its arrays.

    ``Refusal`` for a checkpoint of another model.
    """
    checkpoints.check_checkpoint(checkpoint, config)
    arrays = reference_inputs(config, sequences)
    with tf.Graph().as_default(), tf.Session() as session:
        logits = checkpoints.pretraining_logits(config, {name: tf.constant(array) for name, array in arrays.items()})
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
