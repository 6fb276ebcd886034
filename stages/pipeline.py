"""The flow as one table: what people type, what it runs, what it makes. Make, containers and scripts ask here.

A new stage is a folder with ``options.py`` and ``__main__.py``, a lock, a service of compose.yaml, and a row here.
Runs on Python 3.9, without packages.
"""

import importlib
from dataclasses import dataclass
from typing import Any, Callable, Dict, List, Tuple

from stages.command.folders import Environment, Place, remote, setting
from stages.command.options import Option, options_of


def _never(environment: Environment) -> bool:
    return False


def _downloads(environment: Environment) -> bool:
    dump = setting(environment, "DUMP", "latest")
    return dump == "latest" or "://" in dump


def _trains_elsewhere(environment: Environment) -> bool:
    return setting(environment, "DEVICE") != "cpu"


def _sends(environment: Environment) -> bool:
    return setting(environment, "CONFIRM") == "1"


@dataclass(frozen=True)
class Stage:
    """A command: ``python -m module words… FLAGS`` in an environment and an image.

    makes: the folder it fills, of DATA or WORK_DIR, or ``models``. per_model, per_size: a folder there for every MODEL,
    for every SIZE. killed: what to try where memory was too short.
    """

    name: str
    module: str
    environment: str  # .venv/<environment>, and the image albert-ja/<environment>
    kind: str = "Options"  # the dataclass of its options, in options.py of its folder
    makes: str = ""
    per_model: bool = False
    per_size: bool = False
    words: Tuple[str, ...] = ()
    ports: bool = False  # its container answers requests from outside
    spreads: bool = False  # on a Ray cluster, with ENGINE=ray
    network: Callable[[Environment], bool] = _never
    secrets: Tuple[str, ...] = ()  # variables that reach a container by their names alone
    killed: str = ""

    @property
    def options(self) -> List[Option]:
        """All its options."""
        folder = self.module.split(".")[1]
        return options_of(getattr(importlib.import_module("stages.%s.options" % folder), self.kind))

    def paths(self, environment: Environment) -> Dict[str, str]:
        """The paths that follow from the environment, by the options' names. Refusal as ``Place.path``."""
        given: Dict[str, Any] = {each.name: environment.get(each.variable or "", "") for each in self.options}
        paths = {}
        for each in self.options:
            path = given[each.name].strip() if each.is_path else ""
            if not path and isinstance(each.default, Place):
                path = each.default.path(environment, given) or ""
            if path:
                paths[each.name] = path
        return paths


def _stage(name: str, makes: str = "", module: str = "", environment: str = "", **more: Any) -> Stage:
    """A stage. Module and environment have its name unless they are given."""
    return Stage(name, module or "stages." + name.replace("-", "_"), environment or name, makes=makes, **more)


_FEWER = "fewer processes (JOBS=1)"
_EACH: Dict[str, Any] = {"per_model": True, "per_size": True}
STAGES = {
    stage.name: stage
    for stage in (
        _stage("corpus", "corpus", spreads=True, network=_downloads, killed=_FEWER),
        _stage("vocab", "vocab", spreads=True, killed=_FEWER),
        _stage("tfrecords", "tfrecords", per_model=True, spreads=True, killed=_FEWER),
        _stage("tpu-train", "checkpoints", network=_trains_elsewhere, killed="a smaller BATCH=", **_EACH),
        _stage("train", "runs", killed="a smaller MICRO_BATCH=", **_EACH),
        _stage("convert", "models", words=("--verify",), **_EACH),
        _stage("tokenizer", kind="Tokenize", words=("tokenize",)),
        _stage("serve", ports=True),
        _stage("evaluate", "evaluations", environment="train", **_EACH),
        _stage("finetune", "finetuned", environment="train", **_EACH),
        _stage(
            "push", module="stages.convert.push", environment="convert", kind="Push", network=_sends,
            secrets=("HF_TOKEN", "HF_ENDPOINT"),
        ),
    )
}  # fmt: skip
# Variables of make that are no option of a stage: what they say, for `make help`.
VARIABLES = {
    "MODEL": "wordpiece or character; both where it makes sense",
    "SIZE": "base (default), medium (wordpiece only), small or tiny",
    "DATA": "folder for everything between the stages, or gs://…: data",
    "WORK_DIR": "in place of DATA for training: WORK_DIR/tfrecords → WORK_DIR/runs, WORK_DIR/checkpoints",
    "MODELS": "folder for models, or gs://…: models",
    "RUNNER": "docker or venv; docker where an engine answers",
    "MEMORY": "most memory of a stage in a container, such as 4g; no limit without it",
    "TORCH": "cpu or cuda: the build of PyTorch; cuda where this machine has an NVIDIA GPU",
    "TRAINER": "tf1 or torch: whose checkpoint convert takes, and what demo trains with",
    "RAY_ADDRESS": "ENGINE=ray: the head of a cluster, ray://HOST:10001; that of make cluster without it",
    "WORKERS": "workers of make cluster: 2",
    "TEXT": "what make tokenize tokenizes; standard input without it",
    "PORT": "of make serve: 8000",
    "ADDRESS": "of make serve: 127.0.0.1; 0.0.0.0: other machines reach it as well",
    "STAGE": "whose results upload and download copy, such as STAGE='corpus vocab'; all without it",
    "DRY_RUN": "DRY_RUN=1: upload and download only print what they would copy",
    "BUCKET": "of make mount: bucket, or bucket/prefix",
    "MOUNT": "folder below which make mount mounts: mount",
    "DOWNLOADS": "in a container, the folder that keeps downloads: DATA/downloads",
    "FLAGS": "more words for the stage's command line, such as FLAGS=--help",
    "PYTHON": "the Python that runs make's scripts: python3",
}


def variables() -> Dict[str, List[str]]:
    """Every variable that make knows → the stages that have it as an option; none for those of VARIABLES."""
    users: Dict[str, List[str]] = {name: [] for name in VARIABLES}
    for stage in STAGES.values():
        for each in stage.options:
            if each.variable:
                users.setdefault(each.variable, []).append(stage.name)
    return users


def in_cloud(paths: Dict[str, str], words: List[str]) -> bool:
    """Whether a command with these paths and words reaches Cloud Storage."""
    return any(map(remote, paths.values())) or any("gs://" in word for word in words)
