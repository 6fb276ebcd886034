"""A checkpoint folder of train (model.safetensors, albert_config.json, state.json) → its weights, each one checked."""

import os
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from stages.command.refusal import Refusal
from stages.convert.mapping import check_finite, format_shape, rules
from stages.formats.albert_config import Mismatch
from stages.handover import storage
from stages.handover.manifests import read_json

MODEL, CONFIG, STATE = "model.safetensors", "albert_config.json", "state.json"
FILES = (MODEL, CONFIG, STATE)
METRICS = ("masked_lm_accuracy", "masked_lm_loss", "sentence_order_accuracy", "sentence_order_loss")
# AlbertForPreTraining's second names of tied weights → their first names.
TIED = {
    "predictions.decoder.weight": "albert.embeddings.word_embeddings.weight",
    "predictions.decoder.bias": "predictions.bias",
}


class State(NamedTuple):
    """A checkpoint's step, and the metrics of its evaluation ({} without one)."""

    step: int | None
    metrics: dict[str, float]


def find_folder(path: str) -> str | None:
    """The checkpoint folder for a path to itself, to its model.safetensors, or to a run (then its best checkpoint).

    None if there is no PyTorch checkpoint. `path` may be at gs://.
    """
    if storage.name_of(path) == MODEL:
        path = path.rpartition("/")[0] or "."
    names = storage.names(path)
    if MODEL in names:
        return path
    best = storage.join(path, "best")
    return best if "best/" in names and MODEL in storage.names(best) else None


def read_weights(folder: str, config: dict[str, Any]) -> dict[str, NDArray[np.float32]]:
    """The arrays of `folder`/model.safetensors.

    Raises Mismatch for a missing or additional weight, another shape or type, NaN and infinity; Refusal for a damaged
    file.
    """
    path = os.path.join(folder, MODEL)
    shapes = {rule.transformers: rule.shape[::-1] if rule.transposed else rule.shape for rule in rules(config)}
    try:
        with safe_open(path, framework="numpy") as stream:
            names = set(stream.keys())
            for name, shape in shapes.items():
                if name not in names:
                    raise Mismatch(f"{path} has no weight {name}; it is not this configuration's ALBERT")
                weight = stream.get_slice(name)
                if tuple(weight.get_shape()) != shape:
                    raise Mismatch(
                        f"weight {name} of {path} is {format_shape(weight.get_shape())}, but {format_shape(shape)} "
                        "in the configuration"
                    )
                if weight.get_dtype() != "F32":
                    raise Mismatch(f"weight {name} of {path} holds {weight.get_dtype()}, not F32")
            arrays = {name: stream.get_tensor(name) for name in shapes}
            for name in sorted(names - set(shapes)):
                if name not in TIED:
                    raise Mismatch(f"weight {name} of {path} has no place in the configuration")
                if not np.array_equal(stream.get_tensor(name), arrays[TIED[name]]):
                    raise Mismatch(f"weight {name} of {path} differs from {TIED[name]}, which it is tied to in ALBERT")
    except OSError as error:
        raise Refusal(f"cannot read {path}: {error.strerror or error}")
    except SafetensorError as error:
        raise Refusal(f"{path} is damaged, or no safetensors file ({error})")
    check_finite(arrays, path)
    return arrays


def read_state(folder: str, digest: str) -> State:
    """The step and metrics in state.json. `digest`: the SHA-256 of the weights.

    Raises Refusal if the state belongs to other weights, as while training replaces both.
    """
    path = os.path.join(folder, STATE)
    if not os.path.exists(path):
        return State(None, {})
    state = read_json(path)
    step = state.get("step") if isinstance(state, dict) else None
    if not isinstance(step, int):
        raise Refusal(f"{path} is not the state of a checkpoint: it has no step")
    if state.get("sha256", digest) != digest:
        raise Refusal(f"{path} is of other weights than {MODEL} beside it; try again once training has written both")
    return State(step, evaluation_metrics(state))


def evaluation_metrics(row: dict[str, Any]) -> dict[str, float]:
    """The metrics of an evaluation in a row of JSON."""
    return {name: row[name] for name in METRICS if isinstance(row.get(name), int | float)}
