"""The state of a run ↔ OUT/step-00000100 and OUT/best, whole or not at all: safetensors and JSON.

A checkpoint's folder holds `model.safetensors` (parameters by the names of transformers' AlbertForPreTraining),
`optimizer.safetensors` (the optimizer's state by the same names), `albert_config.json`, and `state.json` (step,
position in the data, sums since the last row). `best` holds the model with the step and the metrics of its evaluation.
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from stages.command.refusal import Refusal, unwritable
from stages.handover import storage
from stages.handover.manifests import read_json, write_json
from stages.handover.storage import PARTIAL, sha256

CONFIG, MODEL, OPTIMIZER, STATE = "albert_config.json", "model.safetensors", "optimizer.safetensors", "state.json"
BEST = "best"
Tensors = dict[str, torch.Tensor]


class Checkpoint(NamedTuple):
    """The state from which a run resumes."""

    step: int
    model: Tensors
    optimizer: Tensors
    state: dict[str, Any]


def folder_of(step: int) -> str:
    return f"step-{step:08d}"


def saved(out: str) -> list[int]:
    """The steps of the complete checkpoints in order. A complete checkpoint has `state.json`, its last file."""
    steps = [int(match[1]) for name in storage.names(out) if (match := re.fullmatch(r"step-(\d{8,})/", name))]
    return sorted(step for step in steps if STATE in storage.names(storage.join(out, folder_of(step))))


def save(out: str, checkpoint: Checkpoint, config: dict[str, Any]) -> None:
    """Write a checkpoint. On a disk, its complete folder is renamed to its final name."""
    name = folder_of(checkpoint.step)
    in_bucket = storage.written_once(out)
    scratch = tempfile.mkdtemp(prefix="train-") if in_bucket else os.path.join(out, f".step{PARTIAL}")
    try:
        # A killed run may have left it.
        shutil.rmtree(scratch, ignore_errors=True)
        os.mkdir(scratch)
        _write(os.path.join(scratch, MODEL), checkpoint.model)
        _write(os.path.join(scratch, OPTIMIZER), checkpoint.optimizer)
        write_json(os.path.join(scratch, CONFIG), config)
        write_json(os.path.join(scratch, STATE), {"step": checkpoint.step, **checkpoint.state})
        if not in_bucket:
            os.replace(scratch, os.path.join(out, name))
            return
        storage.make_folder(storage.join(out, name))
        pairs = [(os.path.join(scratch, part), storage.join(out, name, part)) for part in (MODEL, OPTIMIZER, CONFIG)]
        storage.put_all(pairs)
        storage.put(os.path.join(scratch, STATE), storage.join(out, name, STATE))
    except OSError as error:
        raise unwritable(out, error)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _write(path: str, tensors: Tensors) -> None:
    """Write a safetensors file and sync it to the disk. OSError if the system refuses."""
    try:
        save_file({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}, path)
    except SafetensorError as error:
        # The error number is only in its text: "… No space left on device (os error 28)".
        number = re.search(r"os error (\d+)", str(error))
        raise OSError(int(number[1]), os.strerror(int(number[1]))) if number else error
    with open(path, "rb+") as stream:
        os.fsync(stream.fileno())
        # safetensors creates files that only their owner can read.
        os.fchmod(stream.fileno(), 0o644)


def load(out: str, step: int) -> Checkpoint:
    """Read a checkpoint. Refusal if it is damaged."""
    folder = storage.join(out, folder_of(step))
    state = read_json(storage.join(folder, STATE))
    if not isinstance(state, dict) or state.get("step") != step:
        raise Refusal(f"{storage.join(folder, STATE)} is not the state of step {step}; remove {folder}")
    return Checkpoint(step, tensors_of(storage.join(folder, MODEL)), tensors_of(storage.join(folder, OPTIMIZER)), state)


def tensors_of(path: str) -> Tensors:
    """The tensors of a safetensors file. Refusal if it is missing or damaged."""
    try:
        with storage.fetched(path) as local:
            return load_file(local)
    except OSError as error:
        raise Refusal(f"cannot read {path}: {error.strerror or error}")
    except SafetensorError as error:
        raise Refusal(
            f"{path} is damaged ({error}); remove its folder, and the run resumes from the checkpoint before it"
        )


def prune(out: str, keep: int, best: dict[str, Any] | None, config: dict[str, Any]) -> None:
    """Remove all but the last `keep` checkpoints. Before that, copy the model of the `best` evaluation to OUT/best."""
    if best:
        _write_best(out, best, config)
    for step in saved(out)[:-keep]:
        folder = storage.join(out, folder_of(step))
        # The state goes first: without it the folder is no checkpoint.
        storage.remove(storage.join(folder, STATE))
        storage.remove_all(folder, [MODEL, OPTIMIZER, CONFIG])
        if not storage.remote(out):
            os.rmdir(folder)


def _write_best(out: str, row: dict[str, Any], config: dict[str, Any]) -> None:
    """Copy the model of the evaluation `row` to OUT/best, unless it is there."""
    best = storage.join(out, BEST)
    model, state, names = storage.join(best, MODEL), storage.join(best, STATE), storage.names(best)
    present = read_json(state) if STATE in names else None
    if isinstance(present, dict) and present.get("step") == row["step"]:
        return
    storage.make_folder(best)
    # The old state goes before the old model: a state always describes the model beside it. A killed run leaves files
    # without an end.
    storage.remove_all(best, [name for name in names if name == STATE or name.endswith(PARTIAL)])
    storage.fetch(storage.join(out, folder_of(row["step"]), MODEL), model)
    write_json(storage.join(best, CONFIG), config)
    write_json(state, {**row, "sha256": sha256(model)})
