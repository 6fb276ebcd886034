"""`--checkpoint`, of TensorFlow or of train → its weights under transformers' names, and what is known of it."""

import contextlib
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from stages.command.refusal import Refusal
from stages.convert.checkpoint import DTYPES, Checkpoint
from stages.convert.mapping import rules
from stages.convert.options import Options
from stages.formats.albert_config import model_config
from stages.formats.pretraining import METRICS
from stages.handover import storage
from stages.handover.manifests import read_json
from stages.handover.storage import sha256

BEST = "model.ckpt-best"
MODEL, CONFIG, STATE = "model.safetensors", "albert_config.json", "state.json"
# AlbertForPreTraining's second names of tied weights → their first names.
TIED = {
    "predictions.decoder.weight": "albert.embeddings.word_embeddings.weight",
    "predictions.decoder.bias": "predictions.bias",
}
Arrays = dict[str, NDArray[np.float32]]


class Source(NamedTuple):
    """A checkpoint that passed its checks."""

    program: str  # "TensorFlow" or "PyTorch"
    place: str  # a prefix of TensorFlow, or a file of weights
    copy: str  # the same on this machine
    config_file: str
    config: dict[str, Any]  # in TensorFlow's form
    settings: dict[str, Any]  # in transformers' form
    arrays: Arrays
    step: int | None
    metrics: dict[str, float]
    digests: list[str]  # SHA-256 of each file of weights


@contextlib.contextmanager
def opened(options: Options) -> Iterator[Source]:
    """The checkpoint. One at gs:// is copied to the temporary folder while the body runs. Raises Refusal."""
    folder, name = _find(options.checkpoint)
    if name is None:
        path = storage.join(folder, MODEL)
        with storage.fetched(path) as copy:
            yield _pytorch(path, copy, options.config or storage.join(folder, CONFIG))
        return
    config_file = options.config or storage.join(folder, CONFIG)
    if not options.config and not storage.exists(config_file):
        raise Refusal(
            f"a TensorFlow checkpoint needs --config, and {options.checkpoint} is not the folder of a PyTorch one"
        )
    with tempfile.TemporaryDirectory(prefix="convert-") as scratch:
        local = folder
        if storage.remote(folder):
            parts = tuple(name + part for part in (".index", ".data", ".reference.npz"))
            storage.fetch_all(folder, [each for each in storage.names(folder) if each.startswith(parts)], scratch)
            local = scratch
        yield _tensorflow(storage.join(folder, name), os.path.join(local, name), config_file)


def _find(path: str) -> tuple[str, str | None]:
    """The folder of a checkpoint, and the name of a TensorFlow one in it, None for a PyTorch one.

    `path`: a prefix of TensorFlow, a folder, a file of the checkpoint, or a run, whose best checkpoint is taken.
    """
    prefix = path.removesuffix(".index").removesuffix(".meta")
    for each in (storage.join(prefix, BEST), prefix):
        if storage.exists(each + ".index"):
            return os.path.split(each)
    folder = os.path.dirname(path) if storage.name_of(path) == MODEL else path
    for each in (folder or ".", storage.join(folder, "best")):
        if MODEL in storage.names(each):
            return each, None
    return os.path.split(prefix)


def _tensorflow(prefix: str, copy: str, config_file: str) -> Source:
    config = _read_config(config_file)
    checkpoint = Checkpoint(copy, prefix)
    settings = model_config(config)
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
    digests = [sha256(path) for path in checkpoint.data_files]
    # tpu-train writes the evaluation of its best checkpoint beside it.
    row = read_json(prefix + ".json") if storage.exists(prefix + ".json") else None
    metrics = _metrics(row) if isinstance(row, dict) and row.get("sha256") == digests else {}
    return Source("TensorFlow", prefix, copy, config_file, config, settings, arrays, step, metrics, digests)


def _pytorch(path: str, copy: str, config_file: str) -> Source:
    config = _read_config(config_file)
    settings = model_config(config)
    shapes = {rule.transformers: rule.shape[::-1] if rule.transposed else rule.shape for rule in rules(settings)}
    try:
        with safe_open(copy, framework="numpy") as stream:
            slices = {name: stream.get_slice(name) for name in stream.keys()}  # noqa: SIM118 - it is no dict
            stored = {name: (tuple(part.get_shape()), part.get_dtype()) for name, part in slices.items()}
            tied = {name: stream.get_tensor(name) for name in TIED if stored.pop(name, None)}
            arrays = _arrays(path, "weight", stored, shapes, "F32", stream.get_tensor)
    except OSError as error:
        raise Refusal(f"cannot read {path}: {error.strerror or error}")
    except SafetensorError as error:
        raise Refusal(f"{path} is damaged, or no safetensors file ({error})")
    for name, array in tied.items():
        if not np.array_equal(array, arrays[TIED[name]]):
            raise Refusal(f"weight {name} of {path} differs from {TIED[name]}, which it is tied to in ALBERT")
    digest, state_file = sha256(copy), storage.join(os.path.dirname(path), STATE)
    if not storage.exists(state_file):
        return Source("PyTorch", path, copy, config_file, config, settings, arrays, None, {}, [digest])
    state = read_json(state_file)
    step = state.get("step") if isinstance(state, dict) else None
    if not isinstance(step, int):
        raise Refusal(f"{state_file} is not the state of a checkpoint: it has no step")
    if state.get("sha256", digest) != digest:
        # While training replaces both, too.
        raise Refusal(
            f"{state_file} is of other weights than {MODEL} beside it; try again once training has written both"
        )
    return Source("PyTorch", path, copy, config_file, config, settings, arrays, step, _metrics(state), [digest])


def _read_config(path: str) -> dict[str, Any]:
    config = read_json(path)
    if not isinstance(config, dict):
        raise Refusal(f"{path} holds no configuration (a JSON object)")
    return config


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

    Raises Refusal for an array that is missing or differs, and for one that `shapes` lacks: the result would not be
    the trained model.
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
    return arrays
