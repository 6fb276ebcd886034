"""Manifests of the earlier stages → the facts on a model's origin for its card.

A manifest counts only if it belongs to this model: training by its configuration, TFRecords by their vocabulary and
by training's list of them, the corpus by the SHA-256 of its manifest. A manifest of another run is omitted with a
line on stderr; it does not stop the conversion.
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
    """The facts under `training`, `tfrecords` and `corpus`. A part without a manifest of this model is left out.

    `checkpoint`: a prefix or a folder, local or at gs://. `vocabulary`: the SHA-256 of the model's vocabulary.
    """
    facts: dict[str, Facts] = {}
    training = _training(checkpoint, config)
    if training:
        facts["training"] = {"program": training["stage"], "options": training.get("options", {})}
    records = _manifest(tfrecords, "tfrecords")
    if tfrecords and records:
        inputs = _value(training or {}, "inputs", "tfrecords", "files")
        digests = {name: file["sha256"] for name, file in records["files"].items()}
        if _value(records, "vocabulary", "sha256") != vocabulary:
            _omit(tfrecords, "was made with another vocabulary")
            records = {}
        elif inputs and inputs != {name: digests.get(name) for name in inputs}:
            _omit(tfrecords, "is not what the model was trained on")
            records = {}
        else:
            counts = {name: records["counts"][name] for name in ("examples", "tokens") if name in records["counts"]}
            facts["tfrecords"] = {"options": records["options"], "counts": counts}
    texts = _manifest(corpus, "corpus")
    if corpus and texts:
        # Only the TFRecords tie a corpus to a model.
        if not records or _value(records, "inputs", "corpus") != sha256(storage.join(corpus, MANIFEST)):
            _omit(corpus, "is not known to be the corpus of the model")
        else:
            files = _value(texts, "inputs", "files") or []
            names = [{key: file.get(key) for key in ("name", "kind")} for file in files]
            facts["corpus"] = {"files": names, "counts": texts["counts"]}
    return facts


def _training(checkpoint: str, config: Facts) -> Facts | None:
    """The manifest of the training run, or the record of its options if it is not finished.

    Both are searched for at the checkpoint and in the two folders above it.
    """
    folder = checkpoint.rstrip("/")
    for _ in range(3):
        names = storage.names(folder) if folder else []
        for name in (MANIFEST, RUN):
            if name in names:
                record = read_json(storage.join(folder, name))
                if _value(record, "stage") in TRAINERS and _value(record, "inputs", "config") == config:
                    assert isinstance(record, dict)
                    return record
        folder = folder.rpartition("/")[0] or ("" if folder.startswith("/") else ".")
    return None


def _manifest(folder: str | None, stage: str) -> Facts:
    if not folder:
        return {}
    try:
        manifest = read_manifest(folder, stage)
    except Refusal as refusal:
        print(f"convert: the model card omits {folder}: {refusal}", file=sys.stderr)
        return {}
    return manifest if isinstance(manifest.get("counts"), dict) and isinstance(manifest.get("options"), dict) else {}


def _omit(folder: str, reason: str) -> None:
    print(f"convert: the model card omits {folder}: it {reason}", file=sys.stderr)


def _value(record: Any, *keys: str) -> Any:
    """A nested value of JSON, None if there is none."""
    for key in keys:
        record = record.get(key) if isinstance(record, dict) else None
    return record
