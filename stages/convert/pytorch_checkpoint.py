"""A checkpoint folder of train (model.safetensors, albert_config.json, state.json) → its weights, each one checked."""

import os
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from stages.command.refusal import Refusal
from stages.convert.mapping import refuse_not_finite, rules, size
from stages.formats.albert_config import Mismatch
from stages.handover import storage
from stages.handover.manifests import read_json

MODEL, CONFIG, STATE = "model.safetensors", "albert_config.json", "state.json"
FILES = (MODEL, CONFIG, STATE)
METRICS = ("masked_lm_accuracy", "masked_lm_loss", "sentence_order_accuracy", "sentence_order_loss")
# Second names that AlbertForPreTraining has for weights, and the first ones.
TIED = {
    "predictions.decoder.weight": "albert.embeddings.word_embeddings.weight",
    "predictions.decoder.bias": "predictions.bias",
}


class State(NamedTuple):
    """What is known of a checkpoint beside its weights; `metrics` are those of its evaluation, where it had one."""

    step: int | None
    metrics: dict[str, float]


def find_folder(path: str) -> str | None:
    """The checkpoint's folder that a person named by itself, by its model.safetensors, or by the run it is the best of.

    None where it is no checkpoint of PyTorch. Takes gs:// as well.
    """
    if storage.name_of(path) == MODEL:
        path = path.rpartition("/")[0] or "."
    names = storage.names(path)
    if MODEL in names:
        return path
    best = storage.join(path, "best")
    return best if "best/" in names and MODEL in storage.names(best) else None


def read_weights(folder: str, config: dict[str, Any]) -> dict[str, NDArray[np.float32]]:
    """The arrays of `folder`/model.safetensors. Raises Mismatch for one that is missing, too much, of another shape or
    type, or that holds NaN or infinity; Refusal for a damaged file.
    """
    path = os.path.join(folder, MODEL)
    wanted = {rule.transformers: rule.shape[::-1] if rule.transposed else rule.shape for rule in rules(config)}
    try:
        with safe_open(path, framework="numpy") as stored:
            names = set(stored.keys())
            for name, shape in wanted.items():
                if name not in names:
                    raise Mismatch(f"{path} has no weight {name}; it is not this configuration's ALBERT")
                found = stored.get_slice(name)
                if tuple(found.get_shape()) != shape:
                    raise Mismatch(
                        f"weight {name} of {path} is {size(tuple(found.get_shape()))}, but {size(shape)} in the "
                        "configuration"
                    )
                if found.get_dtype() != "F32":
                    raise Mismatch(f"weight {name} of {path} holds {found.get_dtype()}, not F32")
            arrays = {name: stored.get_tensor(name) for name in wanted}
            for name in sorted(names - set(wanted)):
                if name not in TIED:
                    raise Mismatch(f"weight {name} of {path} has no place in the configuration")
                if not np.array_equal(stored.get_tensor(name), arrays[TIED[name]]):
                    raise Mismatch(f"weight {name} of {path} differs from {TIED[name]}, which it is tied to in ALBERT")
    except OSError as error:
        raise Refusal(f"cannot read {path}: {error.strerror or error}")
    except SafetensorError as error:
        raise Refusal(f"{path} is damaged, or no safetensors file ({error})")
    refuse_not_finite(arrays, path)
    return arrays


def read_state(folder: str, digest: str) -> State:
    """The step, and the metrics of the best checkpoint. `digest`: the SHA-256 of the weights, which it may name.

    Refusal for one of other weights: training was about to write them.
    """
    path = os.path.join(folder, STATE)
    if not os.path.exists(path):
        return State(None, {})
    state = read_json(path)
    step = state.get("step") if isinstance(state, dict) else None
    if not isinstance(step, int):
        raise Refusal(f"{path} is not the state of a checkpoint: it has no step")
    if state.get("sha256", digest) != digest:
        raise Refusal(f"{path} is of other weights than {MODEL} beside it; once training has written both, try again")
    return State(step, metrics_of(state))


def metrics_of(row: dict[str, Any]) -> dict[str, float]:
    """What an evaluation measured, of what a row says of it."""
    return {name: row[name] for name in METRICS if isinstance(row.get(name), int | float)}
