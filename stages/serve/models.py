"""A folder of model folders → its models by name, loaded."""

from __future__ import annotations

import os
from dataclasses import dataclass

from stages.command.refusal import Refusal
from stages.handover import storage
from stages.words.encoding import Tokenizer
from stages.words.filling import MODEL, MaskedLanguageModel
from stages.words.reading import CONFIG, VOCABULARY, read_tokenizer


@dataclass(frozen=True)
class ServedModel:
    """A model's name, its tokenizer, and its model.onnx, if the folder has one."""

    name: str
    tokenizer: Tokenizer
    filler: MaskedLanguageModel | None

    def description(self) -> dict[str, object]:
        """The model's entry in `/v1/models`."""
        rules = self.tokenizer.rules
        return {
            "name": self.name,
            "subword_tokenizer_type": "character" if rules.by_character else "wordpiece",
            "vocab_size": len(rules.vocabulary),
            "max_length": self.filler.positions if self.filler else self.tokenizer.max_length,
            "fill_mask": self.filler is not None,
        }


def read_models(folder: str, threads: int) -> dict[str, ServedModel]:
    """The models below a folder by their paths there (`character/tiny`), or the one model that the folder is.

    Refuses a folder without a model, and a folder with a model that cannot be read.
    """
    if not (storage.remote(folder) or os.path.isdir(folder)):
        raise Refusal(f"there is no folder {folder}; make convert writes models into it")
    files: dict[str, set[str]] = {}
    for path in storage.files_below(folder):
        subfolder, _, file = path.rpartition("/")
        files.setdefault(subfolder, set()).add(file)
    models = {}
    for subfolder, names in sorted(files.items()):
        if {VOCABULARY, CONFIG} <= names:
            path = storage.join(folder, subfolder) if subfolder else folder
            name = subfolder or storage.name_of(folder)
            tokenizer = read_tokenizer(path)
            filler = MaskedLanguageModel(path, tokenizer, threads) if MODEL in names else None
            models[name] = ServedModel(name, tokenizer, filler)
    if not models:
        raise Refusal(f"no folder below {folder} has {VOCABULARY} and {CONFIG}; make convert writes such folders")
    return models
