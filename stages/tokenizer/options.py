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


def all_models(environment: Environment) -> str:
    """MODELS, or the released models where it has none."""
    folder = models(environment)
    return folder if remote(folder) or any(Path(folder).rglob("vocab.txt")) else "released"


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


@dataclass(frozen=True)
class FillMask(Tokenize):
    top_k: int = option(5, "entries for a mask", unit="K", least=1)
    threads: int = option(0, "processors for a model; 0: all", least=0)


@dataclass(frozen=True)
class Serve:
    models: str = path(
        all_models,
        "a model folder, or a folder of them: a model's name is its path; released: those of this project",
    )
    default: Optional[str] = option(None, "the model of a request that names none (default: the first by name)")
    # zsh sets HOST to the name of the machine. PORT is, for make and compose, the port outside the container.
    host: str = option("127.0.0.1", "address to listen on; 0.0.0.0: all of them", variable="")
    port: int = option(8000, "port to listen on; 0: any that is free", least=0, most=65535, variable="")
    threads: int = option(0, "processors for a model; 0: all", least=0)
    max_body: int = option(1 << 20, "a longer request body is refused, 413", unit="BYTES", least=1)
    max_texts: int = option(256, "more texts in a request are refused, 422", least=1)
    max_characters: int = option(100_000, "longer texts are refused, 422", least=1)
    max_waiting: int = option(1024, "concurrent requests; more are refused, 503", least=1)
    timeout: float = option(30.0, "seconds that a request may take", unit="S", least=0.001)
    quiet: bool = option(False, "log no requests, only the start, the end and faults")
