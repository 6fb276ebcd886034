"""Manifests of the earlier stages → the facts on a model's origin for its card.

A manifest counts only if it belongs to this model: training by its configuration, TFRecords by their vocabulary and
by training's list of them, the corpus by the SHA-256 of its manifest. Another is omitted with a line on stderr.
"""

import os
import sys
from typing import Any

from stages.command.refusal import Refusal
from stages.handover import storage
from stages.handover.manifests import MANIFEST, RUN, read_json, read_manifest

Facts = dict[str, Any]
TRAINERS = ("train", "tpu-train")


def provenance(
    checkpoint: str, config: Facts, vocabulary: str, tfrecords: str | None, corpus: str | None
) -> dict[str, Facts]:
    """The facts under `training`, `tfrecords` and `corpus`. A part without a manifest of this model is left out.

    `checkpoint`: a prefix or a folder, local or at gs://. `vocabulary`: the SHA-256 of the model's vocabulary.
    """
    facts: dict[str, Facts] = {}
    training = _training(checkpoint, config)
    records = _manifest(tfrecords, "tfrecords")
    trained, held_out = (_value(training, "inputs", "tfrecords", name) for name in ("files", "held_out"))
    if training:
        facts["training"] = {"program": training["stage"], "options": training.get("options", {})}
        if trained and held_out:
            # evaluate measures on these.
            facts["training"]["held_out"] = {name: trained.get(name) for name in held_out}
    if records and _value(records, "vocabulary", "sha256") != vocabulary:
        records = _omit(tfrecords, "it was made with another vocabulary")
    elif records and trained and trained != {name: _value(records, "files", name, "sha256") for name in trained}:
        records = _omit(tfrecords, "it is not what the model was trained on")
    if records:
        counts = {name: records["counts"][name] for name in ("examples", "tokens") if name in records["counts"]}
        facts["tfrecords"] = {"options": records["options"], "counts": counts}
    texts = _manifest(corpus, "corpus")
    # Only the TFRecords tie a corpus to a model.
    if texts and _value(records, "inputs", "corpus") != storage.sha256(storage.join(str(corpus), MANIFEST)):
        texts = _omit(corpus, "it is not known to be the corpus of the model")
    if texts:
        names = [{key: file.get(key) for key in ("name", "kind")} for file in _value(texts, "inputs", "files") or []]
        facts["corpus"] = {"files": names, "counts": texts["counts"]}
    return facts


def _training(checkpoint: str, config: Facts) -> Facts:
    """The manifest of the training run, or the record of its options if it is not finished; {} without one.

    Both are searched for at the checkpoint and in the two folders above it.
    """
    folder = checkpoint.rstrip("/")
    for _ in range(3):
        names = storage.names(folder)
        for name in (MANIFEST, RUN):
            record: Any = read_json(storage.join(folder, name)) if name in names else None
            if _value(record, "stage") in TRAINERS and _value(record, "inputs", "config") == config:
                return dict(record)
        folder = os.path.dirname(folder) or "."
    return {}


def _manifest(folder: str | None, stage: str) -> Facts:
    """The manifest of a stage's folder; {} without one, or without counts and options."""
    try:
        manifest = read_manifest(folder, stage) if folder else {}
    except Refusal as refusal:
        return _omit(folder, str(refusal))
    return manifest if isinstance(manifest.get("counts"), dict) and isinstance(manifest.get("options"), dict) else {}


def _omit(folder: str | None, reason: str) -> Facts:
    print(f"convert: the model card omits {folder}: {reason}", file=sys.stderr)
    return {}


def _value(record: Any, *keys: str) -> Any:
    """A nested value of JSON, None if there is none."""
    for key in keys:
        record = record.get(key) if isinstance(record, dict) else None
    return record
