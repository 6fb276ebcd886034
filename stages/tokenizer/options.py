"""The options of each command of the tokenizer."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Optional, Tuple

from stages.command.folders import SIZES, Environment, model, model_names, models, remote, setting, size
from stages.command.options import option, path
from stages.command.refusal import Refusal

_MODEL = (
    "model folder, as make convert writes it, or one that comes with this project, such as released/character/tiny "
    "(default: the first in MODELS, else that one)"
)
_TEXTS = "UTF-8; - or none is standard input"
_IDS = "ids: numbers and spaces, JSON lists, or JSON objects with input_ids; - or none is standard input"
_FORMS = ("text", "jsonl")
_INPUT = 'input: a text a line, or JSON a line, a string or an object with "text"'
_OUTPUT = "output: text or JSON lines"
_KEEPS = "; an object of the input keeps its other fields"


def any_model(environment: Environment) -> str:
    """The model of MODEL and SIZE in MODELS: without them the first there, and where there is none the released one."""
    folder = models(environment)
    named, sized = setting(environment, "MODEL"), setting(environment, "SIZE")
    if remote(folder):
        if not (named and sized):
            raise Refusal(f"say which model of {folder}: MODEL=wordpiece or MODEL=character, and SIZE")
        return f"{folder}/{model(environment)}/{size(environment)}"
    names = model_names(environment)
    sizes = [size(environment)] if sized else SIZES
    found = [f"{folder}/{name}/{each}" for name in names for each in sizes if os.path.isdir(f"{folder}/{name}/{each}")]
    if found:
        return found[0]
    if sized or any(Path(folder).rglob("vocab.txt")):
        raise Refusal(f"no {' '.join(filter(None, (named, sized, 'model')))} in {folder}; make convert makes one")
    return f"released/{names[0] if named else 'character'}/tiny"


@dataclass(frozen=True)
class Decode:
    model: str = path(any_model, _MODEL)
    files: Tuple[str, ...] = option((), _IDS, unit="FILE", positional=True)
    to: str = option("text", _OUTPUT, choices=_FORMS, variable="")
    keep_special_tokens: bool = option(False, "write [CLS], [MASK] and the like")


@dataclass(frozen=True)
class Tokenize:
    model: str = path(any_model, _MODEL)
    files: Tuple[str, ...] = option((), _TEXTS, unit="FILE", positional=True)
    form: str = option("text", _INPUT, choices=_FORMS, flag="--from", variable="")
    to: str = option("text", _OUTPUT + _KEEPS, choices=_FORMS, variable="")


@dataclass(frozen=True)
class Encode(Tokenize):
    to: str = option("jsonl", _OUTPUT + _KEEPS, choices=_FORMS, variable="")
    no_special_tokens: bool = option(False, "leave out [CLS] at the start and [SEP] at the end")
    max_length: Optional[int] = option(None, "cut a text to N tokens, [CLS] and [SEP] counted (default: no cut)")

    def conflict(self) -> Optional[str]:
        least = 1 if self.no_special_tokens else 3
        if self.max_length is None or self.max_length >= least:
            return None
        return "--max-length is %d; it must be %d or more to leave room for text" % (self.max_length, least)


@dataclass(frozen=True)
class FillMask(Tokenize):
    top_k: int = option(5, "entries for a mask", unit="K", least=1)
    threads: int = option(0, "processors for a model; 0: all", least=0)
