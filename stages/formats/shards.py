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

    ``vocab_size`` and ``vocabulary``, its SHA-256, are None without a manifest that gives them; then ``largest_id`` is
    the largest token id of the first examples. ``identity`` tells these TFRecords from others, in any folder.
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

    def summary(self) -> str:
        """A sentence for a person."""
        return (
            f"{self.folder}: {len(self.train)} files to train on, {len(self.held_out)} held out with "
            f"{self.held_out_examples:,} examples; {self.seq_length} tokens, {self.max_predictions} predictions"
        )


def has_manifest(folder: str) -> bool:
    """Whether `tfrecords` wrote a folder, maybe not to its end."""
    return not {MANIFEST, RUN}.isdisjoint(storage.names(folder))


def find_shards(folder: str, held_out: Optional[int]) -> Shards:
    """The TFRecords of a folder by its manifest, compared with the sizes and first bytes of its files."""
    files = [name for name in storage.names(folder) if name.endswith(SUFFIX)]
    if files and not has_manifest(folder):
        raise Refusal(f"{folder} has no {MANIFEST}, which make tfrecords writes; make tpu-train reads others")
    manifest = read_manifest(folder, "tfrecords")
    path = storage.join(folder, MANIFEST)
    try:
        listed = {name: value for name, value in sorted(manifest["files"].items()) if name.endswith(SUFFIX)}
        options, vocabulary = manifest["options"], manifest["vocabulary"]
        examples = {name: int(value["examples"]) for name, value in listed.items()}
        sizes = {name: int(value["bytes"]) for name, value in listed.items()}
        lengths = int(options["seq_length"]), int(options["max_predictions"])
        vocab_size = int(vocabulary["size"])
    except (KeyError, TypeError, ValueError, OverflowError, AttributeError) as error:
        raise Refusal(f"{path} is not what tfrecords writes ({error}); make the TFRecords again")
    present = storage.files_below(folder)
    for name, size in sizes.items():
        if name not in files:
            raise Refusal(f"{path} lists {name}, which is missing; make the TFRecords again")
        if present[name] != size:
            file = storage.join(folder, name)
            raise Refusal(f"{file} has not the {size} bytes that its manifest says; make the TFRecords again")
    storage.concurrently(_check_header, [storage.join(folder, name) for name in listed])
    train, held = hold_out(folder, [name for name in listed if examples[name]], held_out)
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
        identity={"files": {name: value.get("sha256") for name, value in listed.items()}, "held_out": held},
        unmasked=bool(options.get("unmasked")),
    )


def hold_out(folder: str, usable: List[str], asked: Optional[int]) -> Tuple[List[str], List[str]]:
    """The files to train on, and the last ``asked`` ones, kept for evaluation (default: 1 %, at least one)."""
    if not usable:
        raise Refusal(f"{folder} holds no examples; make the TFRecords from a larger corpus")
    count = asked or max(1, len(usable) // HELD_OUT_SHARE)
    if count >= len(usable):
        remedy = ", or lower --held-out" if asked and asked > 1 else " (2 or more)"
        raise Refusal(
            f"{folder} has {len(usable)} file(s) with examples and {count} would be held out, so none is left to train "
            f"on; make corpus and tfrecords with more SHARDS{remedy}"
        )
    return usable[:-count], usable[-count:]


def _check_header(path: str) -> None:
    """``Refusal`` where gzip's header is not the one that tfrecords writes.

    TensorFlow's reader takes a file with a flipped flag (RFC 1952, byte 3: FEXTRA, FNAME, FCOMMENT) for an empty one.
    """
    with storage.reading(path) as stream:
        start = stream.read(4)
    if start != GZIP:
        raise Refusal(f"{path} is damaged in its first bytes; make the TFRecords again")
