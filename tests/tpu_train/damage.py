"""A script for the training stage's Python: damage files in many ways and write what TensorFlow and the stage say.

Arguments: a folder of TFRecords, a folder with a finished run's checkpoints (both are copied), seed. One JSON line:
`flipped` and `cut` count what TensorFlow's reader makes of the file, `headers` is
what the stage says of its first bytes, `runs` what last_step makes of each folder.
"""

import contextlib
import io
import json
import os
import random
import shutil
import sys
import tempfile
from collections import Counter
from typing import Any, Callable, Dict, List, Union

from stages.command.refusal import Refusal
from stages.formats.shards import find_shards
from stages.tpu_train import checkpoints
from stages.tpu_train.tensorflow_albert import tf

# Examples in the file of which every bit is flipped.
SOME = 2


def records(path: str) -> Union[str, List[bytes]]:
    gzip = tf.io.TFRecordOptions(tf.io.TFRecordCompressionType.GZIP)
    try:
        return list(tf.io.tf_record_iterator(path, gzip))
    except tf.errors.OpError as error:
        return type(error).__name__


def flipped(path: str, whole: bytes) -> Dict[str, Any]:
    """What TensorFlow makes of a file of SOME examples with each bit flipped, and which bits change what is read."""
    expected = records(path)[:SOME]
    gzip = tf.io.TFRecordOptions(tf.io.TFRecordCompressionType.GZIP)
    with tf.io.TFRecordWriter(path, gzip) as writer:
        for record in expected:
            writer.write(record)
    small, seen, others = read(path), Counter(), []  # type: ignore[var-annotated]
    for bit in range(8 * len(small)):
        at = bit // 8
        write(path, small[:at] + bytes([small[at] ^ 1 << bit % 8]) + small[at + 1 :])
        found = records(path)
        # The name, time and system in gzip's header change nothing, and so do some codes for what is repeated.
        seen[found if isinstance(found, str) else "the same" if found == expected else "other records"] += 1
        if not isinstance(found, str) and found != expected:
            others.append((at, bit % 8, len(found)))
    write(path, whole)
    return dict(seen, bits=8 * len(small), others=others)


def cut(path: str, whole: bytes) -> Dict[str, Dict[str, int]]:
    """What TensorFlow and the stage make of the file where it is cut off."""
    seen = {"TensorFlow": Counter(), "stage": Counter()}  # type: ignore[var-annotated]
    for length in range(0, len(whole), 7):
        write(path, whole[:length])
        seen["TensorFlow"]["refused" if isinstance(records(path), str) else "40 records or fewer"] += 1
        try:
            find_shards(os.path.dirname(path), None)
            seen["stage"]["taken"] += 1
        except Refusal:
            seen["stage"]["refused"] += 1
    return {name: dict(counts) for name, counts in seen.items()}


def headers(path: str, whole: bytes) -> List[str]:
    """What the stage makes of the file with each bit of gzip's flags flipped."""
    said = []
    for bit in range(8):
        write(path, whole[:3] + bytes([whole[3] ^ 1 << bit]) + whole[4:])
        try:
            find_shards(os.path.dirname(path), None)
            said.append("taken")
        except Refusal as refusal:
            said.append(str(refusal).replace(path, "FILE"))
    write(path, whole)
    return said


def write(path: str, data: bytes) -> None:
    with open(path, "wb") as stream:
        stream.write(data)


def read(path: str) -> bytes:
    with open(path, "rb") as stream:
        return stream.read()


def last_step(run: str, change: Callable[[str], Any]) -> List[str]:
    """What last_step says of a copy of ``run`` that ``change`` has damaged, and whether TensorFlow's list agrees."""
    with tempfile.TemporaryDirectory() as folder:
        out = os.path.join(folder, "out")
        shutil.copytree(run, out)
        change(out)
        with contextlib.redirect_stderr(io.StringIO()) as said:
            try:
                step = checkpoints.last_step(out, "OUT")
                latest = tf.train.latest_checkpoint(out)
                return ["step %d" % step, str(latest and os.path.basename(latest)), said.getvalue().replace(out, "OUT")]
            except Refusal as refusal:
                return ["refused", str(refusal).replace(out, "OUT")]


def without(*starts: str) -> Callable[[str], None]:
    def change(out: str) -> None:
        for name in os.listdir(out):
            if name.startswith(starts):
                os.remove(os.path.join(out, name))

    return change


def damaged(name: str, at: float, length: float = 1) -> Callable[[str], None]:
    """Flip a bit at a share of the file, or cut it."""

    def change(out: str) -> None:
        path = os.path.join(out, name)
        data = bytearray(read(path))
        if at < 1:
            data[int(at * len(data))] ^= 16
        write(path, bytes(data[: int(length * len(data))]))

    return change


def both(*changes: Callable[[str], None]) -> Callable[[str], None]:
    def change(out: str) -> None:
        for each in changes:
            each(out)

    return change


def main(tfrecords: str, run: str, seed: int) -> None:
    draw = random.Random(seed)
    with tempfile.TemporaryDirectory() as folder:
        shutil.copytree(tfrecords, os.path.join(folder, "tfrecords"))
        path = os.path.join(folder, "tfrecords", "pretrain_00000.tfrecord.gz")
        whole = read(path)
        shard = {"flipped": flipped(path, whole), "headers": headers(path, whole), "cut": cut(path, whole)}
    data, index = "model.ckpt-60.data-00000-of-00001", "model.ckpt-60.index"
    newest = "model.ckpt-60."
    unlisted = both(without("checkpoint", "model.ckpt-best", "train_loss", "eval_results"), damaged(index, 1, 0.5))
    cases = {
        "whole": without(),
        "data flipped": damaged(data, draw.random()),
        "index flipped": damaged(index, draw.random() / 2),
        "data cut": damaged(data, 1, draw.random()),
        "index cut": damaged(index, 1, draw.random()),
        "data gone": without(data),
        "newest removed": without(newest),
        "list cut": damaged("checkpoint", 1, 0.6),
        "list gone": without("checkpoint"),
        "list gone, data flipped": both(without("checkpoint"), damaged(data, draw.random())),
        "killed while saving": unlisted,
        "all gone": without("model.ckpt-0", "model.ckpt-20", "model.ckpt-40", newest),
        "new": without("model", "checkpoint", "train_loss", "eval_results"),
    }
    json.dump(dict(shard, runs={name: last_step(run, change) for name, change in cases.items()}), sys.stdout)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
