"""TFRecords of another program → Shards, by TensorFlow's own reader; the name of a damaged file."""

import gzip
import itertools
import zlib
from typing import Iterator, Optional

from stages.command.refusal import Refusal
from stages.formats.shards import SUFFIX, Shards, hold_out
from stages.handover import storage

# Examples to read before training.
SAMPLE = 100


def read_shards(folder: str, held_out: Optional[int]) -> Shards:
    """The TFRecords of a folder without a manifest, by their first examples. ``Refusal`` if they cannot train."""
    names = [name for name in storage.names(folder) if name.endswith(SUFFIX)]
    if not names:
        raise Refusal(f"no files match {storage.join(folder, '*' + SUFFIX)}; make tfrecords writes them")
    # Imported late: TensorFlow takes seconds to load.
    from stages.tpu_train.tensorflow_albert import tf

    for name in names:
        _check_first_example(storage.join(folder, name))
    train, held = hold_out(folder, names, held_out)
    first = storage.join(folder, train[0])
    examples = [tf.train.Example.FromString(record).features for record in itertools.islice(_records(first), SAMPLE)]
    if not examples:
        raise Refusal(f"{first} holds no examples; remove it or make the TFRecords again")
    ids = [example.feature["input_ids"].int64_list.value for example in examples]
    positions = examples[0].feature["masked_lm_positions"].int64_list.value
    if not (all(ids) and positions):
        raise Refusal(f"{first} holds no ALBERT pretraining examples; remove it or make the TFRecords again")
    held_out_examples = sum(_count(storage.join(folder, name)) for name in held)
    if not held_out_examples:
        raise Refusal(f"the held-out files of {folder} ({', '.join(held)}) hold no examples; remove them")
    return Shards(
        folder=folder,
        train=train,
        held_out=held,
        held_out_examples=held_out_examples,
        seq_length=len(ids[0]),
        max_predictions=len(positions),
        vocab_size=None,
        vocabulary=None,
        largest_id=max(map(max, ids)),
        identity={"files": {name: storage.size(storage.join(folder, name)) for name in names}, "held_out": held},
    )


def damaged_file(shards: Shards) -> Optional[str]:
    """The first damaged file, by its SHA-256 or, without a manifest, by TensorFlow's reader; None if none is."""
    for name in shards.train + shards.held_out:
        path = storage.join(shards.folder, name)
        if shards.vocab_size is not None:
            if storage.sha256(path) != shards.identity["files"][name]:
                return path
            continue
        try:
            _count(path)
        except Refusal:
            return path
    return None


def _records(path: str) -> Iterator[bytes]:
    from stages.tpu_train.tensorflow_albert import tf

    compressed = tf.io.TFRecordOptions(tf.io.TFRecordCompressionType.GZIP)
    try:
        with storage.fetched(path) as local:
            yield from tf.io.tf_record_iterator(local, compressed)
    except tf.errors.OpError as error:
        raise Refusal(f"{path} is no gzip TFRecords file, or is damaged: {error.message}")


def _count(path: str) -> int:
    return sum(1 for _ in _records(path))


def _check_first_example(path: str) -> None:
    """``Refusal`` for a file that is cut off in its first example. TensorFlow reads it as a file without examples."""
    if next(_records(path), None) is not None:
        return
    try:
        with storage.fetched(path) as local, gzip.open(local) as stream:
            stream.read(1)
    except (EOFError, OSError, zlib.error) as error:
        raise Refusal(f"{path} is no gzip TFRecords file, or is damaged: {error}")
