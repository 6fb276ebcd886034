"""A configuration and a batch (npz) → the time of its training steps by TensorFlow 1.15, and the loss before each.

Google's ALBERT as `tpu-train` runs it, on all cores. Its initial variables go to a file, for the other side.
"""

import json

import numpy as np

from scripts.bench.measured.stopwatch import Stopwatch
from stages.tpu_train.tensorflow_albert import modeling, run_pretraining, tf

FIELDS = {
    "ids": "input_ids",
    "mask": "input_mask",
    "segments": "segment_ids",
    "positions": "masked_lm_positions",
    "labels": "masked_lm_ids",
    "weights": "masked_lm_weights",
    "swapped": "next_sentence_labels",
}


def main(config: str, path: str, variables: str, steps: str) -> None:
    with open(config) as stream:
        shape = json.load(stream)
    arrays = {name: array if name == "weights" else array.astype(np.int32) for name, array in np.load(path).items()}
    features = {FIELDS[name]: tf.placeholder(array.dtype, array.shape) for name, array in arrays.items()}
    feeds = {features[FIELDS[name]]: array for name, array in arrays.items()}
    # A rate of 1e-4 that does not fall.
    spec = run_pretraining.model_fn_builder(
        modeling.AlbertConfig.from_dict(shape), None, 1e-4, 10 ** 9, 0, use_tpu=False, use_one_hot_embeddings=False,
        optimizer="lamb", poly_power=1.0, start_warmup_step=0,
    )(features, None, tf.estimator.ModeKeys.TRAIN, {})  # fmt: skip
    tf.set_random_seed(1)
    watch, losses = Stopwatch(), []
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        np.savez(variables, **session.run({variable.op.name: variable for variable in tf.trainable_variables()}))
        for step in range(1 + int(steps)):
            # The first one optimises the graph.
            with watch if step else Stopwatch():
                loss = session.run([spec.loss, spec.train_op], feeds)[0]
            losses.append(float(loss))
    watch.report(int(steps) * arrays["ids"].size, losses=losses)
