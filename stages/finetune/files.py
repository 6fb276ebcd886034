"""The files of a task; the records of runs, the results and the best model in the output folder."""

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
    """The files of the training set and of the dev set. They may be the same file (see parts.py)."""

    train: str
    dev: str

    @property
    def identity(self) -> dict[str, str]:
        """Name → SHA-256."""
        return {storage.name_of(path): storage.sha256(path) for path in self}


def find_data(folder: str, task: Task) -> DataFiles:
    """A task's files: `train*.json` and `valid*.json` (or `dev*.json`) of a folder, or of its only folder `<task>*`.

    JSICK's names end in `.tsv`. JSICK and NER may be one file: `train*`, or the only file of the folder.
    """
    if not storage.is_folder(folder):
        end = task.ends[0]
        raise Refusal(f"there is no folder {folder}; it must hold train*{end} and valid*{end} of {task.title}")
    if not _matches(folder, task, "train"):
        # A copy of JGLUE's repository has datasets/jsts-v1.3, and datasets/marc_ja-v1.2 with an underscore.
        names = [each for each in storage.names(folder) if each.endswith("/")]
        folders = [name for name in names if name.replace("_", "-").startswith(task.name)]
        if len(folders) > 1:
            raise Refusal(f"{folder} has {', '.join(folders)}; name one of them")
        folder = storage.join(folder, folders[0].rstrip("/")) if folders else folder
    if task.one_file and not _matches(folder, task, "valid", "dev"):
        files = _matches(folder, task, "train") or _matches(folder, task, "")
        if len(files) == 1:
            path = storage.join(folder, files[0])
            return DataFiles(path, path)
    return DataFiles(_single_file(folder, task, "train"), _single_file(folder, task, "valid", "dev"))


def _matches(folder: str, task: Task, *starts: str) -> list[str]:
    return [name for name in storage.names(folder) if name.startswith(starts) and name.endswith(task.ends)]


def _single_file(folder: str, task: Task, *starts: str) -> str:
    matches = _matches(folder, task, *starts)
    if len(matches) != 1:
        pattern = " or ".join(f"{start}*{task.ends[0]}" for start in starts)
        raise Refusal(
            f"{folder} has {f'{len(matches)} files' if matches else 'no file'} {pattern}; it must be the folder of one "
            f"version of {task.title}, as {task.home}"
        )
    return storage.join(folder, matches[0])


def read_records(out: str, runs: list[Run]) -> dict[Run, dict[str, Any]]:
    """The records of the finished runs in an output folder."""
    present = set(storage.names(storage.join(out, RUNS)))
    return {run: read_json(_record_path(out, run)) for run in runs if f"{run.name}.json" in present}


def _record_path(out: str, run: Run) -> str:
    return storage.join(out, RUNS, f"{run.name}.json")


def write_record(out: str, run: Run, record: dict[str, Any], model: str | None) -> None:
    """Record a finished run. `model`: a local folder of its model if it is the best so far; emptied.

    The model is written first, so that the best of the recorded runs always has its model.
    """
    if model is not None:
        _upload_folder(model, storage.join(out, RUNS, run.name))
    storage.make_folder(storage.join(out, RUNS))
    write_json(_record_path(out, run), record)


def _upload_folder(local: str, folder: str) -> None:
    storage.make_folder(folder)
    mask = os.umask(0)
    os.umask(mask)
    names = sorted(os.listdir(local))
    for name in names:
        # safetensors makes its files readable for their owner only.
        os.chmod(os.path.join(local, name), 0o666 & ~mask)
    storage.put_all([(os.path.join(local, name), storage.join(folder, name)) for name in names])


def remove_models(out: str, best: Run) -> None:
    """Remove the models of all runs but the best."""
    for name in storage.names(storage.join(out, RUNS)):
        if name.endswith("/") and name != f"{best.name}/":
            _remove_folder(storage.join(out, RUNS, name.rstrip("/")))


def publish_model(out: str, best: Run) -> None:
    """Move the best run's model to MODEL, the weights last: until they are there, the same call completes the move."""
    source, target = storage.join(out, RUNS, best.name), storage.join(out, MODEL)
    storage.make_folder(target)
    for name in sorted(storage.names(source), key=lambda name: (name == WEIGHTS, name)):
        with storage.fetched(storage.join(source, name)) as local:
            storage.put(local, storage.join(target, name))
        storage.remove(storage.join(source, name))
    _remove_folder(source)


def _remove_folder(folder: str) -> None:
    if storage.remote(folder):
        storage.remove_all(folder, storage.names(folder))
    else:
        with contextlib.suppress(FileNotFoundError):
            shutil.rmtree(folder)


def write_results(out: str, results: dict[str, Any], table: str) -> None:
    """Write the figures and the table, each atomically."""
    write_json(storage.join(out, RESULTS), results)
    with whole_file(storage.join(out, TABLE), "w") as stream:
        stream.write(table)
