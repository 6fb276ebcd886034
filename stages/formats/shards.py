"""A folder of gzip TFRecords → which files train, which are held out, and how long their examples are."""

from dataclasses import dataclass
from typing import Any, Dict, List, Optional, Tuple

from stages.command.refusal import Refusal
from stages.handover import storage
from stages.handover.manifests import MANIFEST, RUN, read_manifest

SUFFIX = ".tfrecord.gz"
# How gzip begins: its magic number, deflate, no flags.
GZIP = b"\x1f\x8b\x08\x00"
# One shard in a hundred is held out unless --held-out says how many.
HELD_OUT_SHARE = 100


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


def has_manifest(folder: str) -> bool:
    """Whether `tfrecords` wrote a folder, to its end or not."""
    present = storage.names(folder)
    return MANIFEST in present or RUN in present


def find_shards(folder: str, held_out: Optional[int]) -> Shards:
    """What the manifest of ``folder`` says, compared with the sizes and first bytes of its files."""
    found = [name for name in storage.names(folder) if name.endswith(SUFFIX)]
    if found and not has_manifest(folder):
        raise Refusal("%s has no %s, which make tfrecords writes; make tpu-train reads others" % (folder, MANIFEST))
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
    storage.concurrently(_header, [storage.join(folder, name) for name in sorted(listed)])
    train, held = hold_out(folder, [name for name in sorted(listed) if examples[name]], held_out)
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


def hold_out(folder: str, usable: List[str], asked: Optional[int]) -> Tuple[List[str], List[str]]:
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


def _header(path: str) -> None:
    """``Refusal`` where gzip's header is not the one that tfrecords writes.

    TensorFlow's reader takes a file with a flipped flag (RFC 1952, byte 3: FEXTRA, FNAME, FCOMMENT) for an empty one.
    """
    with storage.reading(path) as stream:
        start = stream.read(4)
    if start != GZIP:
        raise Refusal("%s is damaged in its first bytes; make the TFRecords again" % path)
