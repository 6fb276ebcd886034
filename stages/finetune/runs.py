"""Hyperparameters → the runs, in order; their records and models in the output folder; the best of them."""

from __future__ import annotations

import contextlib
import itertools
import os
import shutil
from collections.abc import Sequence
from typing import Any, NamedTuple

from stages.finetune.tasks import Task
from stages.handover import storage
from stages.handover.manifests import read_json, write_json

MODEL = "model"
WEIGHTS = "model.safetensors"
# Peak learning rates of AdamW and numbers of epochs. The published grid: github.com/yahoojapan/JGLUE,
# fine-tuning/README.md, "Hyperparameters".
GRIDS = {"jglue": ((5e-5, 3e-5, 2e-5), (3, 4))}
# The share of the steps in which the rate rises, from the same table. It then falls linearly to 0.
WARMUP = 0.1


class Run(NamedTuple):
    """One fine-tuning. The seed is of the new layers and of the order of the examples.

    `pretrained`: False for a model that starts with random values.
    """

    learning_rate: float
    epochs: int
    seed: int
    pretrained: bool = True

    @property
    def name(self) -> str:
        """The name of its files."""
        scratch = "" if self.pretrained else "scratch-"
        return f"{scratch}rate-{self.learning_rate:g}-epochs-{self.epochs}-seed-{self.seed}"


def runs(learning_rates: Sequence[float], epochs: Sequence[int], seeds: Sequence[int]) -> list[Run]:
    """Every combination once, in the order of the arguments."""
    return list(dict.fromkeys(Run(*each) for each in itertools.product(learning_rates, epochs, seeds)))


def best_run(task: Task, records: dict[Run, dict[str, Any]]) -> Run:
    """The best run by the task's first metric, the first of equal ones. An undefined metric is below all others."""

    def score(run: Run) -> float:
        value: float | None = records[run]["dev"][task.metrics[0]]
        return -2.0 if value is None else value

    return max(records, key=score)


def read_records(out: str, runs: list[Run]) -> dict[Run, dict[str, Any]]:
    """The records of the finished runs in an output folder."""
    present = set(storage.names(_path(out)))
    return {run: read_json(_path(out, f"{run.name}.json")) for run in runs if f"{run.name}.json" in present}


def write_record(out: str, run: Run, record: dict[str, Any]) -> None:
    """Record a finished run."""
    storage.make_folder(_path(out))
    write_json(_path(out, f"{run.name}.json"), record)


def write_model(out: str, run: Run, local: str) -> None:
    """Move the files of a run's model from a local folder to the run's folder."""
    storage.make_folder(_path(out, run.name))
    mask = os.umask(0)
    os.umask(mask)
    names = sorted(os.listdir(local))
    for name in names:
        # safetensors makes its files readable for their owner only.
        os.chmod(os.path.join(local, name), 0o666 & ~mask)
    storage.put_all([(os.path.join(local, name), _path(out, run.name, name)) for name in names])


def remove_models(out: str, best: Run) -> None:
    """Remove the models of all runs but the best."""
    for name in storage.names(_path(out)):
        if name.endswith("/") and name != f"{best.name}/":
            _remove_folder(_path(out, name.rstrip("/")))


def publish_model(out: str, best: Run) -> None:
    """Move the best run's model to MODEL, the weights last: until they are there, the same call completes the move."""
    storage.make_folder(storage.join(out, MODEL))
    for name in sorted(storage.names(_path(out, best.name)), key=lambda name: (name == WEIGHTS, name)):
        with storage.fetched(_path(out, best.name, name)) as local:
            storage.put(local, storage.join(out, MODEL, name))
        storage.remove(_path(out, best.name, name))
    _remove_folder(_path(out, best.name))


def _path(out: str, *names: str) -> str:
    return storage.join(out, "runs", *names)


def _remove_folder(folder: str) -> None:
    if storage.remote(folder):
        storage.remove_all(folder, storage.names(folder))
    else:
        with contextlib.suppress(FileNotFoundError):
            shutil.rmtree(folder)
