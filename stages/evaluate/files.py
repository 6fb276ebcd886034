"""A model folder and held-out TFRecords in, checked before any large library is loaded; the report's files out."""

import contextlib
import dataclasses
import json
import os
import tempfile
from collections.abc import Iterator
from typing import Any

from safetensors import SafetensorError, safe_open

from stages import storage
from stages.formats.shards import Shards, find_shards
from stages.handover import MANIFEST, Refusal, read_json, read_manifest, read_shards, sha256, whole_file, write_json
from stages.words.japanese_subwords import SPECIAL_TOKENS, read_vocabulary

MODEL_FILES = ("config.json", "model.safetensors", "tokenizer_config.json", "vocab.txt")
EVALUATION, PAGE, PLOT = "evaluation.json", "report.html", "calibration.svg"
_SETTINGS = ("vocab_size", "max_position_embeddings", "num_hidden_layers", "hidden_size", "embedding_size")


@dataclasses.dataclass(frozen=True)
class ModelFolder:
    """A model folder on this machine. `name`: the last two parts of its path as it was given."""

    name: str
    path: str
    settings: dict[str, Any]
    entries: list[str]
    identity: dict[str, str]  # file → SHA-256

    @property
    def vocabulary(self) -> str:
        return self.identity["vocab.txt"]


@contextlib.contextmanager
def opened_model(given: str) -> Iterator[ModelFolder]:
    """A model folder as `convert` writes it; from gs://, a copy in the temporary folder while the body runs.

    Refuses a folder that lacks a file, of another kind of model, or whose vocabulary is not the configuration's.
    """
    if not storage.remote(given):
        yield _model_folder(given, given)
        return
    with tempfile.TemporaryDirectory(prefix="evaluate-") as copy:
        storage.fetch_all(given, sorted(set(MODEL_FILES) & set(storage.names(given))), copy)
        try:
            yield _model_folder(given, copy)
        except Refusal as refusal:
            raise type(refusal)(str(refusal).replace(copy, given))


def _model_folder(given: str, path: str) -> ModelFolder:
    if not os.path.isdir(path):
        raise Refusal(f"there is no model folder {path}; make convert writes one")
    missing = [name for name in MODEL_FILES if not os.path.isfile(os.path.join(path, name))]
    if missing:
        raise Refusal(f"{path} is no model folder: it has no {' and no '.join(missing)}; make convert writes one")
    config = os.path.join(path, "config.json")
    settings = read_json(config)
    if not isinstance(settings, dict) or settings.get("model_type") != "albert":
        raise Refusal(f"{config} is not the configuration of an ALBERT")
    for name in _SETTINGS:
        if not isinstance(settings.get(name), int):
            raise Refusal(f"{config} has no {name} (a whole number)")
    try:
        entries = list(read_vocabulary(os.path.join(path, "vocab.txt")))
    except ValueError as error:
        raise Refusal(str(error))
    if len(entries) != settings["vocab_size"] or list(entries[:5]) != list(SPECIAL_TOKENS):
        raise Refusal(
            f"{os.path.join(path, 'vocab.txt')} is not the vocabulary of {config}: {len(entries):,} entries, not "
            f"{settings['vocab_size']:,}, or no {' '.join(SPECIAL_TOKENS)} in front; make the model folder again"
        )
    _refuse_damaged(os.path.join(path, "model.safetensors"))
    identity = {name: sha256(os.path.join(path, name)) for name in MODEL_FILES}
    return ModelFolder("/".join(given.rstrip("/").split("/")[-2:]), path, settings, entries, identity)


def _refuse_damaged(weights: str) -> None:
    """Refusal for a file that is not whole: its header says how long it must be."""
    try:
        with safe_open(weights, "numpy"):
            pass
    except SafetensorError as error:
        raise Refusal(f"{weights} is damaged ({error}); make the model folder again")


def open_tfrecords(folder: str, held_out: int | None, model: ModelFolder) -> Shards:
    """The TFRecords whose last files training held out; refuses those of another vocabulary or of longer examples."""
    read_manifest(folder, "tfrecords")  # Without one there is no vocabulary to compare with.
    shards = find_shards(folder, held_out)
    if shards.vocabulary != model.vocabulary:
        raise Refusal(
            f"{folder} was made with another vocabulary than {model.path} has (SHA-256 {str(shards.vocabulary)[:12]}…, "
            f"not {model.vocabulary[:12]}…); name the TFRecords that the model was trained on, or make them again"
        )
    positions = model.settings["max_position_embeddings"]
    if shards.seq_length > positions:
        raise Refusal(
            f"{folder} has examples of {shards.seq_length} tokens, and {model.path} takes {positions} at most; "
            "make TFRecords with a smaller SEQ_LENGTH"
        )
    return shards


def held_out_corpus(corpus: str, shards: Shards) -> list[tuple[str, dict[str, Any]]]:
    """The corpus files of the held-out TFRecords, as `handover.documents` takes them."""
    listed = read_shards(corpus)
    made_of = read_manifest(shards.folder, "tfrecords").get("inputs", {}).get("corpus")
    if made_of != sha256(storage.join(corpus, MANIFEST)):
        raise Refusal(
            f"{shards.folder} was not made of the corpus {corpus} (the SHA-256 of its {MANIFEST} differs); "
            "without --corpus the sentences are taken from the TFRecords"
        )
    # pretrain_00031.tfrecord.gz is made of the corpus file of that number.
    return [listed[int(name.split(".")[0].rsplit("_", 1)[1])] for name in shards.held_out]


def write_report(out: str, evaluation: dict[str, Any], page: str, plot: str) -> list[str]:
    """Write the numbers, the page and the plot, each whole or not at all; gives their names."""
    write_json(storage.join(out, EVALUATION), evaluation)
    for name, text in ((PAGE, page), (PLOT, plot)):
        with whole_file(storage.join(out, name), "w") as stream:
            stream.write(text)
    return [EVALUATION, PAGE, PLOT]


def rounded(value: Any) -> Any:
    """JSON with six significant digits: the last ones of a sum depend on the number of threads."""
    if isinstance(value, float):
        return json.loads(f"{value:.6g}")
    if isinstance(value, dict):
        return {key: rounded(entry) for key, entry in value.items()}
    return [rounded(entry) for entry in value] if isinstance(value, list) else value
