"""A model folder, as `convert` writes it → its settings and vocabulary, checked before any large library is loaded."""

import contextlib
import dataclasses
import os
from collections.abc import Iterator
from typing import Any

from safetensors import SafetensorError, safe_open

from stages.command.refusal import Refusal
from stages.handover import storage
from stages.handover.manifests import read_json
from stages.words.japanese_subwords import SPECIAL_TOKENS
from stages.words.reading import VOCABULARY, local_folder, read_vocabulary

CONFIG, WEIGHTS = "config.json", "model.safetensors"
MODEL_FILES = (CONFIG, WEIGHTS, "tokenizer_config.json", VOCABULARY)
_SETTINGS = ("vocab_size", "max_position_embeddings", "num_hidden_layers", "hidden_size", "embedding_size")


@dataclasses.dataclass(frozen=True)
class ModelFolder:
    """A model folder. `name`: the last two parts of its address."""

    address: str  # as it was given
    path: str  # on this machine
    settings: dict[str, Any]
    entries: list[str]
    identity: dict[str, str]  # file → SHA-256

    @property
    def name(self) -> str:
        return "/".join(self.address.rstrip("/").split("/")[-2:])

    @property
    def vocabulary(self) -> str:
        return self.identity[VOCABULARY]


@contextlib.contextmanager
def opened_model(address: str) -> Iterator[ModelFolder]:
    """A model folder as `convert` writes it; from gs://, a copy in the temporary folder while the body runs.

    Refuses a folder that lacks a file, of another kind of model, with damaged weights, or whose vocabulary is not the
    configuration's.
    """
    with local_folder(address, MODEL_FILES) as path:
        config, weights, vocabulary = (storage.join(address, name) for name in (CONFIG, WEIGHTS, VOCABULARY))
        settings = read_json(config)
        if not isinstance(settings, dict) or settings.get("model_type") != "albert":
            raise Refusal(f"{config} is not the configuration of an ALBERT")
        for name in _SETTINGS:
            if not isinstance(settings.get(name), int):
                raise Refusal(f"{config} has no {name} (a whole number)")
        entries = list(read_vocabulary(vocabulary))
        if len(entries) != settings["vocab_size"] or entries[:5] != list(SPECIAL_TOKENS):
            raise Refusal(
                f"{vocabulary} is not the vocabulary of {config}: {len(entries):,} entries, not "
                f"{settings['vocab_size']:,}, or no {' '.join(SPECIAL_TOKENS)} in front; make the model folder again"
            )
        try:
            # The header says how long the file must be.
            with safe_open(os.path.join(path, WEIGHTS), "numpy"):
                pass
        except SafetensorError as error:
            raise Refusal(f"{weights} is damaged ({error}); make the model folder again")
        identity = {name: storage.sha256(os.path.join(path, name)) for name in MODEL_FILES}
        yield ModelFolder(address, path, settings, entries, identity)
