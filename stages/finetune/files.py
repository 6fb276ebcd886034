"""A folder of a task's files in, checked before any large library is loaded; runs, results and the best model out."""

from __future__ import annotations

import contextlib
import os
import shutil
from typing import Any, NamedTuple

from stages.command.refusal import Refusal
from stages.finetune.grid import Run
from stages.finetune.tasks import Task
from stages.handover import storage
from stages.handover.manifests import read_json, write_json
from stages.handover.storage import whole_file

RESULTS, TABLE = "results.json", "results.md"
RUNS, MODEL = "runs", "model"
WEIGHTS = "model.safetensors"


class DataFiles(NamedTuple):
    """The two files of a task: what is learned from, and what is measured on. One file may be both (see parts.py)."""

    train: str
    dev: str

    @property
    def identity(self) -> dict[str, str]:
        """Name → SHA-256."""
        return {storage.name_of(path): storage.sha256(path) for path in self}


def find_data(folder: str, task: Task) -> DataFiles:
    """A task's files: `train*.json` and `valid*.json` (or `dev*.json`) of a folder, or of its one folder `<task>*`.

    Of JSICK they end in `.tsv`. JSICK and NER may also be one file: `train*`, or the only file of the folder.
    """
    if not storage.is_folder(folder):
        end = task.ends[0]
        raise Refusal(f"there is no folder {folder}; it must hold train*{end} and valid*{end} of {task.title}")
    if not _named(folder, task, "train"):
        # A copy of JGLUE's repository has datasets/jsts-v1.3, and datasets/marc_ja-v1.2 with an underscore.
        inside = [
            name
            for name in storage.names(folder)
            if name.endswith("/") and name.replace("_", "-").startswith(task.name)
        ]
        if len(inside) > 1:
            raise Refusal(f"{folder} has {', '.join(inside)}; name the one of them to take")
        folder = storage.join(folder, inside[0].rstrip("/")) if inside else folder
    if task.one_file and not _named(folder, task, "valid", "dev"):
        files = _named(folder, task, "train") or _named(folder, task, "")
        if len(files) == 1:
            path = storage.join(folder, files[0])
            return DataFiles(path, path)
    return DataFiles(_one(folder, task, "train"), _one(folder, task, "valid", "dev"))


def _named(folder: str, task: Task, *starts: str) -> list[str]:
    return [name for name in storage.names(folder) if name.startswith(starts) and name.endswith(task.ends)]


def _one(folder: str, task: Task, *starts: str) -> str:
    found = _named(folder, task, *starts)
    if len(found) != 1:
        wanted = " or ".join(f"{start}*{task.ends[0]}" for start in starts)
        raise Refusal(
            f"{folder} has {f'{len(found)} files' if found else 'no file'} {wanted}; it must be the folder of one "
            f"version of {task.title}, as {task.home}"
        )
    return storage.join(folder, found[0])


def finished_runs(out: str, runs: list[Run]) -> dict[Run, dict[str, Any]]:
    """What is recorded of the runs that are finished in an output folder."""
    present = set(storage.names(storage.join(out, RUNS)))
    return {run: read_json(_record(out, run)) for run in runs if f"{run.name}.json" in present}


def _record(out: str, run: Run) -> str:
    return storage.join(out, RUNS, f"{run.name}.json")


def keep_run(out: str, run: Run, record: dict[str, Any], scratch: str | None) -> None:
    """Record a finished run. `scratch`: a local folder of its model, where it is the best so far; emptied.

    The model comes first: the best of the recorded runs always has its model beside its record.
    """
    if scratch is not None:
        storage.make_folder(storage.join(out, RUNS, run.name))
        _put_folder(scratch, storage.join(out, RUNS, run.name))
    storage.make_folder(storage.join(out, RUNS))
    write_json(_record(out, run), record)


def drop_models(out: str, best: Run) -> None:
    """Remove the models of all runs but the best."""
    for name in storage.names(storage.join(out, RUNS)):
        if name.endswith("/") and name != f"{best.name}/":
            _remove_folder(storage.join(out, RUNS, name.rstrip("/")))


def publish_model(out: str, best: Run) -> None:
    """Move the best run's model to its place, the weights last: until they are there, the same call completes it."""
    source, target = storage.join(out, RUNS, best.name), storage.join(out, MODEL)
    storage.make_folder(target)
    for name in sorted(storage.names(source), key=lambda name: (name == WEIGHTS, name)):
        with storage.fetched(storage.join(source, name)) as local:
            storage.put(local, storage.join(target, name))
        storage.remove(storage.join(source, name))
    _remove_folder(source)


def _put_folder(local: str, folder: str) -> None:
    names = sorted(os.listdir(local))
    for name in names:
        # safetensors makes its files readable for their owner alone; they are to be read like the others.
        os.chmod(os.path.join(local, name), 0o666 & ~_umask())
    storage.put_all([(os.path.join(local, name), storage.join(folder, name)) for name in names])


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _remove_folder(folder: str) -> None:
    if storage.remote(folder):
        storage.remove_all(folder, storage.names(folder))
    else:
        with contextlib.suppress(FileNotFoundError):
            shutil.rmtree(folder)


def write_results(out: str, results: dict[str, Any], table: str) -> None:
    """Write the figures and the table, each whole or not at all."""
    write_json(storage.join(out, RESULTS), results)
    with whole_file(storage.join(out, TABLE), "w") as stream:
        stream.write(table)
