"""Training examples → the time to read them and of training steps, by `train` and by TensorFlow 1.15.

TensorFlow is Google's ALBERT as `tpu-train` runs it, so this module runs on Python 3.7 as well.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import json
import os
import sys
from pathlib import Path
from typing import Any, Iterator

import numpy as np

from scripts.bench.measured.stopwatch import Stopwatch

BATCH = 64
# The first batches wait for a shuffle buffer, of which ours is the larger one: they are read, and not timed.
FIRST = 8
# Fields of our Batch, in order → TensorFlow's.
FIELDS = {
    "ids": "input_ids",
    "mask": "input_mask",
    "segments": "segment_ids",
    "positions": "masked_lm_positions",
    "labels": "masked_lm_ids",
    "weights": "masked_lm_weights",
    "swapped": "next_sentence_labels",
}


def shards(folder: str) -> list[str]:
    """The TFRecords of a folder."""
    return sorted(map(str, Path(folder).glob("*.tfrecord.gz")))


def read(side: str, folder: str, sequence: str, predictions: str, examples: str, cores: str) -> None:
    """Time shuffled batches, and hash as many in the files' order.

    `ours` as `train` reads them, `tensorflow` as the input function of ALBERT's run_pretraining with the patch of
    `tpu-train` does when it trains.
    """
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: int(cores)])
    files, lengths = shards(folder), (int(sequence), int(predictions))
    count = max(1, int(examples) // BATCH)
    if side == "ours":
        from stages.formats.batches import TrainingData, held_out

        batches: Iterator[Any] = (batch for batch, _ in TrainingData(files, *lengths, BATCH, 1).batches())
        in_order: Iterator[Any] = held_out(files, *lengths, BATCH, count)
    else:
        batches = tensorflow_batches(files, *lengths, True)
        in_order = itertools.islice(tensorflow_batches(files, *lengths, False), count)
    for _ in range(FIRST):
        next(batches)
    watch, digest = Stopwatch(), hashlib.sha256()
    with watch:
        for _ in range(count):
            next(batches)
    for array in itertools.chain.from_iterable(in_order):
        digest.update(array.astype("<f4").tobytes())
    watch.report(count * BATCH, sha256=digest.hexdigest())


def tensorflow_batches(files: list[str], sequence: int, predictions: int, training: bool) -> Iterator[list[Any]]:
    """Batches of TensorFlow's input function: shuffled and endless for training, else in the files' order."""
    from stages.tpu_train.tensorflow_albert import run_pretraining, tf

    build = run_pretraining.input_fn_builder(files, sequence, predictions, is_training=training)
    graph = tf.Graph()
    with graph.as_default():
        following = build({"batch_size": BATCH}).make_one_shot_iterator().get_next()
    session = tf.Session(graph=graph)
    while True:
        features = session.run(following)
        yield [features[name] for name in FIELDS.values()]


def choose(folder: str, sequence: str, predictions: str, examples: str, out: str) -> None:
    """Write a batch (npz): examples evenly spread over the order by length, so padded as all of them are."""
    from stages.formats.batches import held_out

    read = held_out(shards(folder), int(sequence), int(predictions), 256, sys.maxsize)
    arrays = dict(zip(FIELDS, map(np.concatenate, zip(*read, strict=True)), strict=True))
    by_length = np.argsort(arrays["mask"].sum(1), kind="stable")
    step = len(by_length) // int(examples)
    rows = by_length[step // 2 :: step][: int(examples)]
    batch: dict[str, Any] = {name: array[rows] for name, array in arrays.items()}
    np.savez(out, **batch)
    print(json.dumps({"tokens": float(batch["mask"].mean()), "of_all": float(arrays["mask"].mean())}))


def tensorflow_steps(config: str, path: str, variables: str, steps: str) -> None:
    """Train on the batch on all cores: times, and the loss before each step. Writes its initial variables (npz)."""
    from stages.tpu_train.tensorflow_albert import modeling, run_pretraining, tf

    shape = json.loads(Path(config).read_text())
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


def torch_steps(config: str, path: str, variables: str, steps: str, precision: str) -> None:
    """The same as `train` does it, from TensorFlow's variables: forward, backward, clipping and LAMB.

    precision: float32, or `auto`, the default of `train` on this processor. The first step, which is not timed, makes
    room in memory.
    """
    # PyTorch reads how its threads wait when it is loaded; as `train` has it.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    import torch

    from stages.convert.mapping import rules
    from stages.devices import computes_bfloat16
    from stages.formats.batches import Batch
    from stages.train.model import Pretraining, loss, new_model, tensors
    from stages.train.optimizers import Lamb, clip

    rounded = precision == "auto" and computes_bfloat16("cpu")
    shape, weights = json.loads(Path(config).read_text()), np.load(variables)
    pretraining = Pretraining(new_model(shape, 1)).train()
    pretraining.load({
        rule.transformers: torch.from_numpy(weights[rule.tensorflow].T if rule.transposed else weights[rule.tensorflow])
        for rule in rules(shape)
    })  # fmt: skip
    batch, device = Batch(**np.load(path)), torch.device("cpu")
    optimizer = Lamb(pretraining.model.named_parameters())
    watch, losses = Stopwatch(), []
    for step in range(1 + int(steps)):
        with watch if step else Stopwatch():
            with torch.autocast("cpu", torch.bfloat16) if rounded else contextlib.nullcontext():
                sums = pretraining(tensors(batch, device))
            value = loss(sums, float(batch.weights.sum()), len(batch.ids))
            value.backward()
            clip(pretraining.parameters(), 1.0)
            optimizer.step(1e-4)
            optimizer.zero_grad()
        losses.append(value.item())
    watch.report(int(steps) * batch.ids.size, losses=losses, precision="bfloat16" if rounded else "float32")


def curve(tfrecords: str, run: str) -> None:
    """Held-out metrics of the checkpoints of a run of `train`, of either recipe, as the efficient recipe measures them.

    JSON by step: at length 128, and with `full_length_` in full length.
    """
    import torch

    from stages.formats.shards import find_shards
    from stages.formats.windows import LENGTH, held_out_evaluation
    from stages.handover.manifests import read_json
    from stages.handover.storage import join
    from stages.train import checkpoints
    from stages.train.model import Pretraining, Sums, means, new_model, tensors

    found = find_shards(tfrecords, None)
    metrics: dict[int, dict[str, float]] = {}
    for step in checkpoints.saved(run):
        config = read_json(join(run, checkpoints.folder_of(step), checkpoints.CONFIG))
        pretraining = Pretraining(new_model(config, 1)).eval()
        pretraining.load(checkpoints.load(run, step).model)
        row = metrics[step] = {}
        for prefix, length in (("", min(LENGTH, found.seq_length)), ("full_length_", None)):
            sums = torch.zeros(len(Sums._fields), dtype=torch.float64)
            with torch.inference_mode():
                for batch in held_out_evaluation(found, config["vocab_size"], length):
                    outputs = pretraining(tensors(batch, torch.device("cpu")))
                    sums += torch.stack([value.double() for value in outputs])
            row |= {prefix + name: value for name, value in means(sums.tolist()).items()}
    print(json.dumps(metrics))
