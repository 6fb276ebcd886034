"""Where a stage finds its folders: a template such as ``{data}/tfrecords/{model}``, filled from the environment.

``data`` is DATA (``data``), ``training`` WORK_DIR (as ``data``), ``models`` MODELS (``models``): folders, or gs://….
``model`` and ``size`` are MODEL and SIZE. A container has nothing of this set: its folders are mounted where these
defaults name them. Runs on Python 3.7 as well.
"""

import os
import string
from typing import Any, Callable, Dict, List, Mapping, NamedTuple, Optional, Union

from stages.command.refusal import Refusal

Environment = Mapping[str, str]
# MODEL → the folder of that model, everywhere.
MODELS = {
    "wordpiece": "wordpiece_tinysegmenter",
    "wordpiece_tinysegmenter": "wordpiece_tinysegmenter",
    "character": "character",
}
SIZES = ("base", "medium", "small", "tiny")


class Place(NamedTuple):
    """The default of a path: a template, or a function that gives the path.

    if_there: it counts only where MODEL names a model, as in the flow, and there is such a file or folder.
    """

    template: Union[str, Callable[[Environment], Optional[str]]]
    if_there: bool = False

    @property
    def shown(self) -> str:
        """How ``--help`` calls it; nothing where a function gives it."""
        if callable(self.template):
            return ""
        shown = {name: name.upper() for name in [*_names(self.template), "training"]}
        return self.template.format_map({**shown, "training": "WORK_DIR"}) + " if it is there" * self.if_there

    def path(self, environment: Environment, given: Mapping[str, Any]) -> Optional[str]:
        """The path itself; ``given`` are values of other options. Refusal where a variable is missing or wrong."""
        if callable(self.template):
            return self.template(environment)
        if self.if_there and not setting(environment, "MODEL"):
            return None
        names = _names(self.template)
        path = self.template.format_map({n: VARIABLES[n](environment) if n in VARIABLES else given[n] for n in names})
        return path if not self.if_there or there(path) else None


def _names(template: str) -> List[str]:
    return [name for _, name, _, _ in string.Formatter().parse(template) if name]


def there(path: str) -> bool:
    """Whether there is something at a path; nobody asks a bucket here, whose stage says what is missing."""
    return remote(path) or os.path.exists(path)


def remote(path: str) -> bool:
    """Whether a path is in Cloud Storage."""
    return path.startswith("gs://")


def setting(environment: Environment, name: str, default: str = "") -> str:
    """A variable; an empty one counts as not set."""
    return environment.get(name, "").strip() or default


def switch(environment: Environment, name: str) -> bool:
    """A variable that is 1 or 0; 0 where it is not set."""
    value = setting(environment, name, "0")
    if value not in ("0", "1"):
        raise Refusal("%s=%s is neither 1 nor 0" % (name, value))
    return value == "1"


def folder(environment: Environment, name: str, default: str) -> str:
    """A folder that a variable names: on this machine, or gs://…"""
    path = setting(environment, name, default)
    if "://" in path and not remote(path):
        raise Refusal("%s=%s is neither a folder nor gs://…" % (name, path))
    return path.rstrip("/") or "/"


def data(environment: Environment) -> str:
    return folder(environment, "DATA", "data")


def training(environment: Environment) -> str:
    return folder(environment, "WORK_DIR", data(environment))


def models(environment: Environment) -> str:
    return folder(environment, "MODELS", "models")


def model(environment: Environment) -> str:
    """The folder of the model that MODEL names. Refusal where it is not set, or no model."""
    return model_names(environment)[0] if setting(environment, "MODEL") else _nameless()


def model_names(environment: Environment) -> List[str]:
    """The folder of the model that MODEL names; those of both without it."""
    name = setting(environment, "MODEL")
    if not name:
        return ["wordpiece_tinysegmenter", "character"]
    if name not in MODELS:
        raise Refusal("MODEL=%s is neither wordpiece nor character" % name)
    return [MODELS[name]]


def _nameless() -> str:
    raise Refusal("this is of one model: say MODEL=wordpiece or MODEL=character")


def size(environment: Environment) -> str:
    """SIZE, or base."""
    name = setting(environment, "SIZE", "base")
    if name not in SIZES:
        raise Refusal("SIZE=%s is none of %s" % (name, ", ".join(SIZES)))
    return name


def trainer(environment: Environment, default: str = "") -> str:
    """TRAINER: tf1 (tpu-train), torch (train), or the default."""
    name = setting(environment, "TRAINER", default)
    if name not in ("", "tf1", "torch"):
        raise Refusal("TRAINER=%s is neither torch nor tf1" % name)
    return name


VARIABLES: Dict[str, Callable[[Environment], str]] = {
    "data": data,
    "training": training,
    "models": models,
    "model": model,
    "size": size,
}
