"""The held-out TFRecords and their corpus, with their checks."""

from typing import Any

from stages.command.refusal import Refusal
from stages.formats.corpus import read_shards
from stages.formats.model_folder import ModelFolder
from stages.formats.shards import Shards, find_shards
from stages.handover import storage
from stages.handover.manifests import MANIFEST, read_json, read_manifest
from stages.handover.storage import sha256


def open_tfrecords(folder: str, held_out: int | None, model: ModelFolder) -> tuple[Shards, str]:
    """The TFRecords, and a warning where it is not known that the model has not learned from those held out.

    Training held out the files that the model's manifest names. `held_out`: the number of the last ones to take.
    Refuses TFRecords of another vocabulary or with longer examples than the model takes, and files trained on.
    """
    read_manifest(folder, "tfrecords")  # Without a manifest there is no vocabulary to compare.
    trained = _held_out_by_training(model.address)
    shards = find_shards(folder, held_out or len(trained) or None)
    if shards.vocabulary != model.vocabulary:
        raise Refusal(
            f"{folder} was made with another vocabulary than {model.address} has "
            f"(SHA-256 {str(shards.vocabulary)[:12]}…, not {model.vocabulary[:12]}…); name the TFRecords that the "
            "model was trained on, or make them again"
        )
    positions = model.settings["max_position_embeddings"]
    if shards.seq_length > positions:
        raise Refusal(
            f"{folder} has examples of {shards.seq_length} tokens, and {model.address} takes {positions} at most; "
            "make TFRecords with a smaller SEQ_LENGTH"
        )
    if not trained:
        return shards, f"{model.address} has no record of the files that its training held out: the last ones are taken"
    if any(shards.identity["files"].get(name) != digest for name, digest in trained.items()):
        return shards, f"{model.address} was trained on other TFRecords than {folder}, maybe on the same text"
    if not set(shards.held_out) <= set(trained):
        raise Refusal(
            f"--held-out {held_out} takes files that {model.address} was trained on: its training held out "
            f"{len(trained)}; leave --held-out out"
        )
    return shards, ""


def _held_out_by_training(model: str) -> dict[str, str]:
    """File → SHA-256 of the TFRecords that training held out, by the manifest of `convert`; {} without a record.

    Only the record counts: the files of a model may be links, as in the cache of the hub.
    """
    record: Any = read_json(storage.join(model, MANIFEST)) if MANIFEST in storage.names(model) else {}
    for key in ("inputs", "provenance", "training", "held_out"):
        record = record.get(key) if isinstance(record, dict) else None
    return record if isinstance(record, dict) else {}


def held_out_corpus(corpus: str, shards: Shards) -> list[tuple[str, dict[str, Any]]]:
    """The corpus files of the held-out TFRecords: (name, description). Refuses another corpus."""
    files = read_shards(corpus)
    digest = read_manifest(shards.folder, "tfrecords").get("inputs", {}).get("corpus")
    if digest != sha256(storage.join(corpus, MANIFEST)):
        raise Refusal(
            f"{shards.folder} was not made of the corpus {corpus} (the SHA-256 of its {MANIFEST} differs); "
            "without --corpus the sentences are taken from the TFRecords"
        )
    # pretrain_00031.tfrecord.gz has the text of the corpus file of the same number.
    return [files[int(name.split(".")[0].rsplit("_", 1)[1])] for name in shards.held_out]
