"""The content of a run's folder: TensorFlow's checkpoints, the copy of the best one, evaluations and losses.

``folder`` is OUT or its copy, in which TensorFlow works; ``out`` is OUT, as errors name it.
"""

import json
import re
import sys
from typing import Any, Dict, List, Tuple

from stages.command.refusal import Refusal
from stages.formats.pretraining import METRICS, Row
from stages.handover import storage
from stages.handover.manifests import read_json, write_json
from stages.tpu_train.files import BEST, BEST_RECORD, LIST, LOSSES
from stages.tpu_train.tensorflow_albert import tf

INDEX = re.compile(r"model\.ckpt-(\d+)\.index")
EVALUATIONS = "eval_results.jsonl"
PUBLISHED = "eval_results.txt"


def last_step(folder: str, out: str) -> int:
    """The step of the newest checkpoint of a run, after a check of all its bytes; 0 in a new run.

    Without its list, or a checkpoint of the list, TensorFlow starts again from step 0 and prints nothing. So a list
    that differs from the files is rewritten here. ``Refusal`` for a damaged checkpoint, and for a run that has lost all
    of them. A damaged checkpoint outside the list was being saved when the run was killed; it is not used.
    """
    names = storage.names(folder)
    steps = sorted(int(match.group(1)) for match in map(INDEX.fullmatch, names) if match)
    paths = [storage.join(folder, f"model.ckpt-{step}") for step in steps]
    state = tf.train.get_checkpoint_state(folder)
    listed = list(state.all_model_checkpoint_paths) if state else None
    while paths:
        newest = storage.name_of(paths[-1])
        try:
            read_through(paths[-1], storage.join(out, newest))
            break
        except Refusal as damage:
            if LIST in names and (listed is None or paths[-1] in listed):
                previous = storage.name_of(paths[-2]) if len(paths) > 1 else "the beginning"
                remedy = f"remove {storage.join(out, newest)}.*, and the same command resumes from {previous}"
                raise Refusal(f"{damage}; {remedy}")
            print(f"tpu-train: {newest} is incomplete and not used", file=sys.stderr)
            paths.pop()
    if not paths:
        traces = [name for name in names if name == LIST or name.startswith(BEST) or name.endswith((".tsv", ".jsonl"))]
        if traces:
            raise Refusal(
                f"{out} has lost all checkpoints of its run ({traces[0]} is left); restore them or remove the folder "
                "to start again"
            )
        return 0
    if listed != paths:
        with storage.whole_file(storage.join(folder, LIST), "w") as stream:
            # Names without folders, so that the folder can be moved.
            stream.write(f'model_checkpoint_path: "{newest}"\n')
            stream.writelines(f'all_model_checkpoint_paths: "{storage.name_of(path)}"\n' for path in paths)
    step = steps[len(paths) - 1]
    if step:
        print(f"tpu-train: resuming from step {step:,}", file=sys.stderr)
    return step


def read_through(prefix: str, name: str) -> Dict[str, List[int]]:
    """The shape of every variable of a checkpoint. ``Refusal`` if a byte is missing or a checksum differs.

    ``name``: the prefix as errors give it.
    """
    try:
        reader = tf.train.load_checkpoint(prefix)
        shapes: Dict[str, List[int]] = reader.get_variable_to_shape_map()
        for variable in shapes:
            reader.get_tensor(variable)
    except (tf.errors.OpError, ValueError) as error:
        if isinstance(error, (tf.errors.NotFoundError, ValueError)) or not storage.exists(prefix + ".index"):
            raise Refusal(f"there is no readable TensorFlow checkpoint {name} (files {name}.index and {name}.data-…)")
        fault = str(error.message).partition("\n")[0]
        raise Refusal(f"the checkpoint {name} is damaged ({fault})")
    return shapes


def saved(folder: str) -> List[Tuple[int, str]]:
    """The complete checkpoints of a run as (step, path), oldest first."""
    state = tf.train.get_checkpoint_state(folder)
    paths = [path for path in state.all_model_checkpoint_paths if tf.train.checkpoint_exists(path)] if state else []
    return sorted((int(path.rpartition("-")[2]), path) for path in paths)


def data_sha256(prefix: str) -> List[str]:
    """SHA-256 of each data file of a checkpoint, in the order of names."""
    return [storage.sha256(path) for path in sorted(tf.gfile.Glob(prefix + ".data-*"))]


def keep_best(folder: str, path: str, row: Dict[str, Any]) -> None:
    """Copy the checkpoint ``path`` to model.ckpt-best.*, unless it is there.

    model.ckpt-best.json holds ``row``, its evaluation, with the SHA-256 of the data. It is removed first and written
    last, so that it always describes the files beside it.
    """
    best, record = storage.join(folder, BEST), storage.join(folder, BEST_RECORD)
    present = [name for name in storage.names(folder) if name.startswith(BEST + ".")]
    if BEST_RECORD in present:
        if read_json(record)["step"] == row["step"]:
            return
        storage.remove(record)
    storage.remove_all(folder, present)
    for source in sorted(tf.gfile.Glob(path + ".*")):
        storage.fetch(source, best + source[len(path) :])
    write_json(record, dict(row, sha256=data_sha256(best)))


def read_evaluations(folder: str, out: str) -> List[Row]:
    """The rows of eval_results.jsonl; empty without the file. ``Refusal`` if it is damaged."""
    try:
        return [json.loads(line) for line in _lines(folder, EVALUATIONS)]
    except ValueError as error:
        path = storage.join(out, EVALUATIONS)
        raise Refusal(f"{path} is damaged ({error}); remove it, and the checkpoints are evaluated again")


def write_evaluations(folder: str, rows: List[Row]) -> None:
    """Write all rows as JSON lines, and as the ``name = value`` lines of Google's program."""
    with storage.whole_file(storage.join(folder, EVALUATIONS), "w") as stream:
        stream.writelines(json.dumps(row) + "\n" for row in rows)
    with storage.whole_file(storage.join(folder, PUBLISHED), "w") as stream:
        for row in rows:
            stream.write(f"global_step = {row['step']}\n")
            stream.writelines(f"{name} = {row[name]}\n" for name in METRICS)


def read_losses(folder: str, last_step: int) -> List[Tuple[int, float]]:
    """The rows (step, loss) of train_loss.tsv up to ``last_step``, from which training resumes."""
    rows = [line.split("\t") for line in _lines(folder, LOSSES)[1:]]
    return [(int(step), float(loss)) for step, loss in rows if int(step) <= last_step]


def write_losses(folder: str, rows: List[Tuple[int, float]]) -> None:
    with storage.whole_file(storage.join(folder, LOSSES), "w") as stream:
        stream.write("step\tloss\n")
        stream.writelines("%d\t%.6f\n" % row for row in rows)


def _lines(folder: str, name: str) -> List[str]:
    """The lines of a file; none without the file."""
    if name not in storage.names(folder):
        return []
    with storage.reading(storage.join(folder, name)) as stream:
        return stream.read().decode().splitlines()
