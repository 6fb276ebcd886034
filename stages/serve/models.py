"""A folder of model folders → its models by name, ready to answer."""

from __future__ import annotations

import os
from dataclasses import dataclass

from stages.command.refusal import Refusal
from stages.handover import storage
from stages.words.encoding import Tokenizer
from stages.words.filling import MODEL, MaskedLanguageModel
from stages.words.reading import CONFIG, VOCABULARY, read_tokenizer


@dataclass(frozen=True)
class Served:
    """A model: its name, its tokenizer, and what fills masks, if the folder has it."""

    name: str
    tokenizer: Tokenizer
    filler: MaskedLanguageModel | None

    def described(self) -> dict[str, object]:
        """What `/v1/models` says of it."""
        rules = self.tokenizer.rules
        return {
            "name": self.name,
            "subword_tokenizer_type": "character" if rules.by_character else "wordpiece",
            "vocab_size": len(rules.vocabulary),
            "max_length": self.filler.positions if self.filler else self.tokenizer.max_length,
            "fill_mask": self.filler is not None,
        }


def read_models(folder: str, threads: int) -> dict[str, Served]:
    """Every model below a folder, by its path there (`character/tiny`), or the one that the folder itself is.

    Refuses a folder without any, and one whose model cannot be read: a service that lacks one is not what was asked.
    """
    found: dict[str, set[str]] = {}
    if not (storage.remote(folder) or os.path.isdir(folder)):
        raise Refusal(f"there is no folder {folder}; make convert writes models into it")
    for path in storage.files_below(folder):
        place, _, name = path.rpartition("/")
        found.setdefault(place, set()).add(name)
    models = {}
    for place, names in sorted(found.items()):
        if {VOCABULARY, CONFIG} <= names:
            path = storage.join(folder, place) if place else folder
            name = place or storage.name_of(folder)
            tokenizer = read_tokenizer(path)
            filler = MaskedLanguageModel(path, tokenizer, threads) if MODEL in names else None
            models[name] = Served(name, tokenizer, filler)
    if not models:
        raise Refusal(f"no folder below {folder} has {VOCABULARY} and {CONFIG}; make convert writes such")
    return models
