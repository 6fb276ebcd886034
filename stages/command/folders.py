"""The paths of a stage's folders: a template such as ``{data}/tfrecords/{model}``, filled from the environment.

``data`` is DATA (default: ``data``), ``training`` WORK_DIR (default: DATA), ``models`` MODELS (default: ``models``): a
folder or gs://…. ``model`` and ``size`` are MODEL and SIZE. A container mounts its folders at the defaults.
Python 3.7 or later.
"""

import os
import string
from typing import Any, Callable, Dict, List, Mapping, NamedTuple, Optional, Union

from stages.command.refusal import Refusal

Environment = Mapping[str, str]
WORDPIECE = "wordpiece_tinysegmenter"
# MODEL → the folder of that model, everywhere.
MODELS = {"wordpiece": WORDPIECE, WORDPIECE: WORDPIECE, "character": "character"}
SIZES = ("base", "medium", "small", "tiny")


class Place(NamedTuple):
    """The default of a path: a template, or a function that returns the path.

    if_there: the default counts only if MODEL is set and the file or folder exists.
    """

    template: Union[str, Callable[[Environment], Optional[str]]]
    if_there: bool = False

    @property
    def shown(self) -> str:
        """The default in ``--help``; empty for a function."""
        if callable(self.template):
            return ""
        shown = {name: name.upper() for name in [*_names(self.template), "training"]}
        return self.template.format_map({**shown, "training": "WORK_DIR"}) + " if it is there" * self.if_there

    def path(self, environment: Environment, given: Mapping[str, Any]) -> Optional[str]:
        """The path. ``given``: the values of other options. Refusal for a missing or wrong variable."""
        if callable(self.template):
            return self.template(environment)
        if self.if_there and not setting(environment, "MODEL"):
            return None
        names = _names(self.template)
        path = self.template.format_map({n: VARIABLES[n](environment) if n in VARIABLES else given[n] for n in names})
        return path if not self.if_there or may_exist(path) else None


def _names(template: str) -> List[str]:
    return [name for _, name, _, _ in string.Formatter().parse(template) if name]


def may_exist(path: str) -> bool:
    """Whether a local path exists; always True for gs://, which the stage itself checks."""
    return remote(path) or os.path.exists(path)


def remote(path: str) -> bool:
    """Whether a path is in Cloud Storage."""
    return path.startswith("gs://")


def setting(environment: Environment, name: str, default: str = "") -> str:
    """The value of a variable; an empty variable counts as not set."""
    return environment.get(name, "").strip() or default


def switch(environment: Environment, name: str) -> bool:
    """Whether a variable is 1. Refusal for a value that is neither 1 nor 0; not set means 0."""
    value = setting(environment, name, "0")
    if value not in ("0", "1"):
        raise Refusal("%s=%s is neither 1 nor 0" % (name, value))
    return value == "1"


def folder(environment: Environment, name: str, default: str) -> str:
    """The folder in a variable: a local one, or gs://… Refusal for another address."""
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
    """The folder name of MODEL. Refusal if MODEL is not set or is no model."""
    names = model_names(environment)
    if len(names) > 1:
        raise Refusal("this needs one model: say MODEL=wordpiece or MODEL=character")
    return names[0]


def model_names(environment: Environment) -> List[str]:
    """The folder name of MODEL in a list; both names if MODEL is not set. Refusal if it is no model."""
    name = setting(environment, "MODEL")
    if not name:
        return [WORDPIECE, "character"]
    if name not in MODELS:
        raise Refusal("MODEL=%s is neither wordpiece nor character" % name)
    return [MODELS[name]]


def size(environment: Environment) -> str:
    """SIZE (default: base). Refusal for an unknown size."""
    name = setting(environment, "SIZE", "base")
    if name not in SIZES:
        raise Refusal("SIZE=%s is none of %s" % (name, ", ".join(SIZES)))
    return name


def trainer(environment: Environment, default: str = "") -> str:
    """TRAINER: tf1 (tpu-train), torch (train), or the default. Refusal for another value."""
    name = setting(environment, "TRAINER", default)
    if name not in ("", "tf1", "torch"):
        raise Refusal("TRAINER=%s is neither torch nor tf1" % name)
    return name


VARIABLES: Dict[str, Callable[[Environment], str]] = {
    function.__name__: function for function in (data, training, models, model, size)
}
