"""A model folder, as `convert` writes it → its settings and vocabulary, checked before any large library is loaded."""

import contextlib
import dataclasses
import os
import tempfile
from collections.abc import Iterator
from typing import Any

from safetensors import SafetensorError, safe_open

from stages.command.refusal import Refusal
from stages.handover import storage
from stages.handover.manifests import read_json
from stages.handover.storage import sha256
from stages.words.japanese_subwords import SPECIAL_TOKENS, read_vocabulary

MODEL_FILES = ("config.json", "model.safetensors", "tokenizer_config.json", "vocab.txt")
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
    with tempfile.TemporaryDirectory(prefix="model-") as copy:
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
