"""A folder of gzip TFRecords → which files train, which are held out, and how long their examples are."""

import gzip
import itertools
import zlib
from dataclasses import dataclass
from typing import Any, Dict, List, Optional, Tuple

from stages import storage
from stages.handover import MANIFEST, RUN, Refusal, read_manifest

SUFFIX = ".tfrecord.gz"
# How gzip begins: its magic number, deflate, no flags.
GZIP = b"\x1f\x8b\x08\x00"
# One shard in a hundred is held out unless --held-out says how many.
HELD_OUT_SHARE = 100
# Examples of a folder without a manifest that are looked at before training.
LOOKED_AT = 100


@dataclass(frozen=True)
class Shards:
    """The TFRecords of one run. ``unmasked``: none of their tokens is masked.

    ``vocab_size`` and ``vocabulary``, its SHA-256, are None where no manifest gives them; then ``largest_id`` is
    the largest token id of the first examples. ``identity`` tells these TFRecords from others, wherever they lie.
    """

    folder: str
    train: List[str]
    held_out: List[str]
    held_out_examples: int
    seq_length: int
    max_predictions: int
    vocab_size: Optional[int]
    vocabulary: Optional[str]
    largest_id: Optional[int]
    identity: Dict[str, Any]
    unmasked: bool = False

    def paths(self, chosen: List[str]) -> List[str]:
        return [storage.join(self.folder, name) for name in chosen]


def find_shards(folder: str, held_out: Optional[int]) -> Shards:
    """Read ``folder``: by its manifest, or by its first examples where this project did not make it."""
    present = storage.names(folder)
    found = [name for name in present if name.endswith(SUFFIX)]
    if MANIFEST in present or RUN in present:
        return _by_manifest(folder, found, held_out)
    if not found:
        raise Refusal("no files match %s; make tfrecords writes them" % storage.join(folder, "*" + SUFFIX))
    return _by_looking(folder, found, held_out)


def _by_manifest(folder: str, found: List[str], held_out: Optional[int]) -> Shards:
    manifest = read_manifest(folder, "tfrecords")
    path = storage.join(folder, MANIFEST)
    try:
        listed = {name: value for name, value in manifest["files"].items() if name.endswith(SUFFIX)}
        options, vocabulary = manifest["options"], manifest["vocabulary"]
        examples = {name: int(value["examples"]) for name, value in listed.items()}
        sizes = {name: int(value["bytes"]) for name, value in listed.items()}
        lengths = int(options["seq_length"]), int(options["max_predictions"])
        vocab_size = int(vocabulary["size"])
    except (KeyError, TypeError, ValueError, OverflowError, AttributeError) as error:
        raise Refusal("%s is not what tfrecords writes (%s); make the TFRecords again" % (path, error))
    there = storage.files_below(folder)
    for name in sorted(listed):
        if name not in found:
            raise Refusal("%s lists %s, which is missing; make the TFRecords again" % (path, name))
        if there[name] != sizes[name]:
            raise Refusal(
                "%s has not the %d bytes that its manifest says; make the TFRecords again"
                % (storage.join(folder, name), sizes[name])
            )
    storage.at_once(_header, [storage.join(folder, name) for name in sorted(listed)])
    train, held = _hold_out(folder, [name for name in sorted(listed) if examples[name]], held_out)
    return Shards(
        folder=folder,
        train=train,
        held_out=held,
        held_out_examples=sum(examples[name] for name in held),
        seq_length=lengths[0],
        max_predictions=lengths[1],
        vocab_size=vocab_size,
        vocabulary=vocabulary.get("sha256"),
        largest_id=None,
        identity={"files": {name: listed[name].get("sha256") for name in sorted(listed)}, "held_out": held},
        unmasked=bool(options.get("unmasked")),
    )


def _by_looking(folder: str, found: List[str], held_out: Optional[int]) -> Shards:
    for name in found:
        _begun(storage.join(folder, name))
    train, held = _hold_out(folder, found, held_out)
    first = _read_examples(storage.join(folder, train[0]), LOOKED_AT)
    if not first:
        raise Refusal("%s holds no examples; remove it or make the TFRecords again" % storage.join(folder, train[0]))
    try:
        seq_length = len(first[0]["input_ids"])
        max_predictions = len(first[0]["masked_lm_positions"])
        largest_id = max(max(example["input_ids"]) for example in first)
    except (KeyError, ValueError):
        raise Refusal("%s holds no ALBERT pretraining examples" % storage.join(folder, train[0]))
    held_out_examples = sum(_count_examples(storage.join(folder, name)) for name in held)
    if not held_out_examples:
        raise Refusal("the held-out files of %s (%s) hold no examples" % (folder, ", ".join(held)))
    return Shards(
        folder=folder,
        train=train,
        held_out=held,
        held_out_examples=held_out_examples,
        seq_length=seq_length,
        max_predictions=max_predictions,
        vocab_size=None,
        vocabulary=None,
        largest_id=largest_id,
        identity={"files": {name: storage.size(storage.join(folder, name)) for name in found}, "held_out": held},
    )


def _hold_out(folder: str, usable: List[str], asked: Optional[int]) -> Tuple[List[str], List[str]]:
    """The last ``asked`` of the files with examples are kept for evaluation (default: 1 %, at least one)."""
    if not usable:
        raise Refusal("%s holds no examples; make the TFRecords from a larger corpus" % folder)
    count = asked or max(1, len(usable) // HELD_OUT_SHARE)
    if count >= len(usable):
        raise Refusal(
            "%s has %d file(s) with examples and %d would be held out, so none is left to train on; "
            "make corpus and tfrecords with more SHARDS%s"
            % (folder, len(usable), count, ", or lower --held-out" if asked and asked > 1 else " (2 or more)")
        )
    return usable[:-count], usable[-count:]


def _records(path: str) -> Any:
    from stages.tpu_train.tensorflow_albert import tf

    compressed = tf.io.TFRecordOptions(tf.io.TFRecordCompressionType.GZIP)
    try:
        with storage.fetched(path) as local:
            yield from tf.io.tf_record_iterator(local, compressed)
    except tf.errors.OpError as error:
        raise Refusal("%s is no gzip TFRecords file, or is damaged: %s" % (path, error.message))


def _header(path: str) -> None:
    """``Refusal`` where gzip's header is not the one that tfrecords writes.

    TensorFlow's reader takes a file with a flipped flag (RFC 1952, byte 3: FEXTRA, FNAME, FCOMMENT) for an empty one.
    """
    with storage.reading(path) as stream:
        start = stream.read(4)
    if start != GZIP:
        raise Refusal("%s is damaged in its first bytes; make the TFRecords again" % path)


def _begun(path: str) -> None:
    """``Refusal`` for a file that is cut off in its first example: to TensorFlow it is one without examples."""
    if next(_records(path), None) is not None:
        return
    try:
        with storage.fetched(path) as local, gzip.open(local) as stream:
            stream.read(1)
    except (EOFError, OSError, zlib.error) as error:
        raise Refusal("%s is no gzip TFRecords file, or is damaged: %s" % (path, error))


def damaged_file(shards: Shards) -> Optional[str]:
    """The first file that is not what it was when it was made, after TensorFlow has met one; None if there is none."""
    for name in shards.train + shards.held_out:
        path = storage.join(shards.folder, name)
        if shards.vocab_size is not None:
            if storage.sha256(path) != shards.identity["files"][name]:
                return path
            continue
        try:
            _count_examples(path)
        except Refusal:
            return path
    return None


def _count_examples(path: str) -> int:
    return sum(1 for _ in _records(path))


def _read_examples(path: str, count: int) -> List[Dict[str, List[int]]]:
    from stages.tpu_train.tensorflow_albert import tf

    examples = (tf.train.Example.FromString(record) for record in itertools.islice(_records(path), count))
    return [
        {name: list(feature.int64_list.value) for name, feature in example.features.feature.items()}
        for example in examples
    ]
