"""Manifests of the stages before → what is known of how a model was made, for its card.

Each manifest is believed only where it is of this very model: training by its configuration, TFRecords by their
vocabulary and by training's list of them, the corpus by the SHA-256 of its manifest. What is of another run is left
out, and a line says so: a conversion does not fail for a card.
"""

import sys
from typing import Any

from stages.command.refusal import Refusal
from stages.handover import storage
from stages.handover.manifests import MANIFEST, RUN, read_json, read_manifest
from stages.handover.storage import sha256

Facts = dict[str, Any]
TRAINERS = ("train", "tpu-train")


def provenance(
    checkpoint: str, config: Facts, vocabulary: str, tfrecords: str | None, corpus: str | None
) -> dict[str, Facts]:
    """`training` (found beside the checkpoint, or one folder above), `tfrecords` and `corpus`: those that are known.

    `checkpoint`: a prefix or a folder, here or at gs://. `vocabulary`: the SHA-256 of the model's.
    """
    known: dict[str, Facts] = {}
    training = _training(checkpoint, config)
    if training:
        known["training"] = {"program": training["stage"], "options": training.get("options", {})}
    records = _manifest(tfrecords, "tfrecords")
    if tfrecords and records:
        trained_on = _of(training or {}, "inputs", "tfrecords", "files")
        made = {name: described["sha256"] for name, described in records["files"].items()}
        if _of(records, "vocabulary", "sha256") != vocabulary:
            _left_out(tfrecords, "was made with another vocabulary")
            records = {}
        elif trained_on and trained_on != {name: made.get(name) for name in trained_on}:
            _left_out(tfrecords, "is not what the model was trained on")
            records = {}
        else:
            counts = {name: records["counts"][name] for name in ("examples", "tokens") if name in records["counts"]}
            known["tfrecords"] = {"options": records["options"], "counts": counts}
    texts = _manifest(corpus, "corpus")
    if corpus and texts:
        # Without TFRecords in between nothing says that it is this model's corpus.
        if not records or _of(records, "inputs", "corpus") != sha256(storage.join(corpus, MANIFEST)):
            _left_out(corpus, "is not known to be the corpus of the model")
        else:
            files = [{key: file.get(key) for key in ("name", "kind")} for file in _of(texts, "inputs", "files") or []]
            known["corpus"] = {"files": files, "counts": texts["counts"]}
    return known


def _training(checkpoint: str, config: Facts) -> Facts | None:
    """What the run of a checkpoint left: its manifest; of an unfinished one, its options."""
    place = checkpoint.rstrip("/")
    for _ in range(3):
        names = storage.names(place) if place else []
        for name in (MANIFEST, RUN):
            if name in names:
                record = read_json(storage.join(place, name))
                if _of(record, "stage") in TRAINERS and _of(record, "inputs", "config") == config:
                    assert isinstance(record, dict)
                    return record
        place = place.rpartition("/")[0] or ("" if place.startswith("/") else ".")
    return None


def _manifest(folder: str | None, stage: str) -> Facts:
    if not folder:
        return {}
    try:
        manifest = read_manifest(folder, stage)
    except Refusal as refusal:
        print(f"convert: the model card says nothing of it: {refusal}", file=sys.stderr)
        return {}
    return manifest if isinstance(manifest.get("counts"), dict) and isinstance(manifest.get("options"), dict) else {}


def _left_out(folder: str, why: str) -> None:
    print(f"convert: the model card says nothing of {folder}: it {why}", file=sys.stderr)


def _of(record: Any, *keys: str) -> Any:
    """A value deep in JSON; None where there is none."""
    for key in keys:
        record = record.get(key) if isinstance(record, dict) else None
    return record
