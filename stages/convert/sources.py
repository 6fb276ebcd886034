"""`--checkpoint`, of TensorFlow or of train → its weights under transformers' names, and what is known of it."""

import hashlib
import os
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, deserialize

from stages.command.refusal import Refusal
from stages.convert.checkpoint import DTYPES, Checkpoint, read_bytes
from stages.convert.mapping import rules
from stages.convert.options import Options
from stages.formats.albert_config import model_config
from stages.formats.pretraining import METRICS
from stages.handover import storage
from stages.handover.manifests import read_json

BEST = "model.ckpt-best"
MODEL, CONFIG, STATE = "model.safetensors", "albert_config.json", "state.json"
# AlbertForPreTraining's second names of tied weights → their first names.
TIED = {
    "predictions.decoder.weight": "albert.embeddings.word_embeddings.weight",
    "predictions.decoder.bias": "predictions.bias",
}
Arrays = dict[str, NDArray[np.float32]]
# Weights, step, metrics and digests: see Source.
Found = tuple[Arrays, int | None, dict[str, float], list[str]]


class Source(NamedTuple):
    """A checkpoint that passed its checks."""

    program: str  # "TensorFlow" or "PyTorch"
    place: str  # a prefix of TensorFlow, or a file of weights; local or at gs://
    config_file: str
    config: dict[str, Any]  # in TensorFlow's form
    settings: dict[str, Any]  # in transformers' form
    arrays: Arrays
    step: int | None
    metrics: dict[str, float]
    digests: list[str]  # SHA-256 of each file of weights


def read_source(options: Options) -> Source:
    """The checkpoint of --checkpoint. Raises Refusal."""
    program, place = _find(options.checkpoint)
    config_file = options.config or storage.join(os.path.dirname(place), CONFIG)
    beside = all(map(storage.exists, (place + ".index", config_file)))
    if program == "TensorFlow" and not options.config and not beside:
        raise Refusal(
            f"a TensorFlow checkpoint needs --config, and {options.checkpoint} is not the folder of a PyTorch one"
        )
    config = read_json(config_file)
    if not isinstance(config, dict):
        raise Refusal(f"{config_file} holds no configuration (a JSON object)")
    settings = model_config(config)
    read = _tensorflow if program == "TensorFlow" else _pytorch
    return Source(program, place, config_file, config, settings, *read(place, settings))


def _find(path: str) -> tuple[str, str]:
    """The program and the place of a checkpoint.

    `path`: a prefix of TensorFlow, a folder, a file of the checkpoint, or a run, whose best checkpoint is taken.
    """
    prefix = path.removesuffix(".index").removesuffix(".meta")
    for each in (storage.join(prefix, BEST), prefix):
        if storage.exists(each + ".index"):
            return "TensorFlow", each
    folder = os.path.dirname(path) if storage.name_of(path) == MODEL else path
    for each in (folder or ".", storage.join(folder, "best")):
        if MODEL in storage.names(each):
            return "PyTorch", storage.join(each, MODEL)
    return "TensorFlow", prefix


def _tensorflow(prefix: str, settings: dict[str, Any]) -> Found:
    checkpoint = Checkpoint(prefix)
    wanted = {rule.tensorflow: rule for rule in rules(settings)}
    stored = {
        name: (checkpoint.shape(name), DTYPES.get(entry.dtype, f"TensorFlow's type {entry.dtype}"))
        for name, entry in checkpoint.variables.items()
        # Optimizer slots and the step are ignored. Another variable of the model would make it another model.
        if name in wanted or (name.startswith("bert/") and not name.split("/")[-1].startswith(("adam", "lamb", "Adam")))
    }
    shapes = {name: rule.shape for name, rule in wanted.items()}
    variables = _arrays(prefix, "variable", stored, shapes, "float32", checkpoint.read)
    arrays = {
        rule.transformers: np.ascontiguousarray(variables[name].T if rule.transposed else variables[name])
        for name, rule in wanted.items()
    }
    step = int(checkpoint.read("global_step")) if "global_step" in checkpoint.variables else None
    # tpu-train writes the evaluation of its best checkpoint beside it.
    row = read_json(prefix + ".json") if storage.exists(prefix + ".json") else None
    digests = [hashlib.sha256(data).hexdigest() for data in checkpoint.files.values()]
    return arrays, step, _metrics(row) if isinstance(row, dict) and row.get("sha256") == digests else {}, digests


def _pytorch(path: str, settings: dict[str, Any]) -> Found:
    shapes = {rule.transformers: rule.shape[::-1] if rule.transposed else rule.shape for rule in rules(settings)}
    try:
        data = read_bytes(path)
        tensors: dict[str, Any] = dict(deserialize(data))
    except OSError as error:
        raise Refusal(f"cannot read {path}: {error.strerror or error}")
    except SafetensorError as error:
        raise Refusal(f"{path} is damaged, or no safetensors file ({error})")

    def read(name: str) -> NDArray[np.float32]:
        return np.frombuffer(tensors[name]["data"], "<f4").reshape(tensors[name]["shape"])

    stored = {name: (tuple(part["shape"]), part["dtype"]) for name, part in tensors.items()}
    second_names = {name: stored.pop(name) for name in TIED if name in stored}
    arrays = _arrays(path, "weight", stored, shapes, "F32", read)
    for name, found in second_names.items():
        if found != (shapes[TIED[name]], "F32") or not np.array_equal(read(name), arrays[TIED[name]]):
            raise Refusal(f"weight {name} of {path} differs from {TIED[name]}, which it is tied to in ALBERT")
    digest, state_file = hashlib.sha256(data).hexdigest(), storage.join(os.path.dirname(path), STATE)
    if not storage.exists(state_file):
        return arrays, None, {}, [digest]
    state = read_json(state_file)
    step = state.get("step") if isinstance(state, dict) else None
    if not isinstance(step, int):
        raise Refusal(f"{state_file} is not the state of a checkpoint: it has no step")
    if state.get("sha256", digest) != digest:
        # As while training replaces both.
        raise Refusal(
            f"{state_file} is of other weights than {MODEL} beside it; try again once training has written both"
        )
    return arrays, step, _metrics(state), [digest]


def _metrics(row: dict[str, Any]) -> dict[str, float]:
    """The metrics of an evaluation in a row of JSON."""
    return {name: row[name] for name in METRICS if isinstance(row.get(name), int | float)}


def _arrays(
    path: str,
    noun: str,
    stored: Mapping[str, tuple[tuple[int, ...], str]],
    shapes: Mapping[str, tuple[int, ...]],
    kind: str,
    read: Callable[[str], NDArray[Any]],
) -> Arrays:
    """The arrays of `shapes` in a file, all of type `kind`. `stored`: the shape and type of each array in the file.

    Raises Refusal for an array that is missing, differs, or is not finite, and for one that `shapes` lacks: the result
    would not be the trained model.
    """
    arrays = {}
    for name, shape in shapes.items():
        if name not in stored:
            raise Refusal(f"{path} has no {noun} {name}; it is not this configuration's ALBERT")
        found = stored[name]
        if found[0] != shape:
            ours, theirs = (" × ".join(map(str, each)) for each in (shape, found[0]))
            raise Refusal(f"{noun} {name} of {path} is {theirs}, but {ours} in the configuration")
        if found[1] != kind:
            raise Refusal(f"{noun} {name} of {path} holds {found[1]}, not {kind}")
        arrays[name] = read(name)
    for name in sorted(stored.keys() - shapes.keys()):
        raise Refusal(f"{noun} {name} of {path} has no place in the configuration")
    for name, array in arrays.items():
        # A sum of finite float32 values is finite in float64.
        if not np.isfinite(array.sum(dtype=np.float64)):
            fault = "holds NaN or infinity; take a checkpoint from before it diverged"
            raise Refusal(f"{noun} {name} of {path} {fault}")
    return arrays
