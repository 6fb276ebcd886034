"""A script for the training stage's Python: write a small folder of gzip TFRecords with TensorFlow's own writer.

Arguments: folder, examples in each file (comma separated), vocabulary size, sequence length, predictions.
Tokens are mostly 5 and 6, so that a model learns something within a few steps.
The vocabulary lies beside the folder, as <folder>.vocab.txt.
"""

import hashlib
import json
import os
import random
import sys
from typing import Any, List

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "2"

import tensorflow as tf

tf.compat.v1.logging.set_verbosity(tf.compat.v1.logging.ERROR)


def integers(values: List[int]) -> Any:
    return tf.train.Feature(int64_list=tf.train.Int64List(value=values))


def example(draw: random.Random, vocab_size: int, length: int, predictions: int) -> Any:
    tokens = [draw.choice([5, 6, 5, 6, 5, 6, 5, draw.randrange(5, vocab_size)]) for _ in range(length - 3)]
    cut = length // 2
    tokens = [2, *tokens[: cut - 2], 3, *tokens[cut - 2 :], 3]
    places = [place for place, token in enumerate(tokens) if token > 4]
    positions = sorted(draw.sample(places, predictions))
    labels = [tokens[place] for place in positions]
    for place in positions:
        tokens[place] = 4
    features = {
        "input_ids": integers(tokens),
        "input_mask": integers([1] * length),
        "segment_ids": integers([0] * cut + [1] * (length - cut)),
        "token_boundary": integers([1] * length),
        "masked_lm_positions": integers(positions),
        "masked_lm_ids": integers(labels),
        "masked_lm_weights": tf.train.Feature(float_list=tf.train.FloatList(value=[1.0] * predictions)),
        "next_sentence_labels": integers([draw.randrange(2)]),
    }
    return tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString()


def main(folder: str, counts: List[int], vocab_size: int, length: int, predictions: int) -> None:
    os.makedirs(folder)
    files = {}
    for shard, count in enumerate(counts):
        name = "pretrain_%05d.tfrecord.gz" % shard
        path = os.path.join(folder, name)
        draw = random.Random(shard)
        gzip = tf.io.TFRecordOptions(compression_type="GZIP")
        with tf.io.TFRecordWriter(path, gzip) as writer:
            for _ in range(count):
                writer.write(example(draw, vocab_size, length, predictions))
        with open(path, "rb") as stream:
            digest = hashlib.sha256(stream.read()).hexdigest()
        files[name] = {"bytes": os.path.getsize(path), "sha256": digest, "examples": count}
    entries = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *map(chr, range(ord("あ"), ord("あ") + vocab_size - 5))]
    vocabulary = "".join(entry + "\n" for entry in entries).encode()
    with open(folder + ".vocab.txt", "wb") as stream:
        stream.write(vocabulary)
    manifest = {
        "stage": "tfrecords",
        "options": {"model": "character", "seq_length": length, "max_predictions": predictions},
        "vocabulary": {"size": vocab_size, "sha256": hashlib.sha256(vocabulary).hexdigest()},
        "files": files,
    }
    with open(os.path.join(folder, "manifest.json"), "w") as stream:
        json.dump(manifest, stream)


if __name__ == "__main__":
    main(sys.argv[1], [int(count) for count in sys.argv[2].split(",")], *map(int, sys.argv[3:]))
