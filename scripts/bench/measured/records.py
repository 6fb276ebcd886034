"""Gzip TFRecords → the time to read batches of their examples, shuffled, and a hash of as many in the files' order.

`ours` as `train` reads them, `tensorflow` as the input function of ALBERT's run_pretraining with the patch of
`tpu-train` does when it trains (Python 3.7: this module must run there as well).
"""

import glob
import hashlib
import itertools
import os
from typing import Any, Iterator, List

from scripts.bench.measured.stopwatch import Stopwatch

BATCH = 64
# The first batches wait for a shuffle buffer, of which ours is the larger one: they are read, and not timed.
FIRST = 8
# In the order of our Batch.
NAMES = (
    "input_ids",
    "input_mask",
    "segment_ids",
    "masked_lm_positions",
    "masked_lm_ids",
    "masked_lm_weights",
    "next_sentence_labels",
)


def main(side: str, folder: str, sequence: str, predictions: str, examples: str, cores: str) -> None:
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: int(cores)])
    files = sorted(glob.glob(os.path.join(folder, "*.tfrecord.gz")))
    lengths = int(sequence), int(predictions)
    count = max(1, int(examples) // BATCH)
    batches, in_order = (ours if side == "ours" else tensorflow)(files, *lengths, count)
    for _ in range(FIRST):
        next(batches)
    watch = Stopwatch()
    with watch:
        for _ in range(count):
            next(batches)
    digest = hashlib.sha256()
    for arrays in in_order:
        for array in arrays:
            digest.update(array.astype("<f4").tobytes())
    watch.report(count * BATCH, sha256=digest.hexdigest())


def ours(files: List[str], sequence: int, predictions: int, in_order: int) -> Any:
    """Endless shuffled batches, and `in_order` batches in the files' order."""
    from stages.formats.batches import TrainingData, held_out

    shuffled = (batch for batch, _ in TrainingData(files, sequence, predictions, BATCH, 1).batches())
    return shuffled, held_out(files, sequence, predictions, BATCH, in_order)


def tensorflow(files: List[str], sequence: int, predictions: int, in_order: int) -> Any:
    """Endless shuffled batches, and `in_order` batches in the files' order."""
    from stages.tpu_train.tensorflow_albert import run_pretraining, tf

    def batches(training: bool) -> Iterator[Any]:
        build = run_pretraining.input_fn_builder(files, sequence, predictions, is_training=training)
        graph = tf.Graph()
        with graph.as_default():
            following = build({"batch_size": BATCH}).make_one_shot_iterator().get_next()
        session = tf.Session(graph=graph)
        while True:
            features = session.run(following)
            yield [features[name] for name in NAMES]

    return batches(True), itertools.islice(batches(False), in_order)
