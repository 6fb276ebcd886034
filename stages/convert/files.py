"""A checkpoint, its configuration and its vocabulary in, a model folder out."""

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from typing import Any

from stages.command.refusal import Refusal
from stages.convert import pytorch_checkpoint
from stages.convert.checkpoint import BadCheckpoint, Checkpoint, open_prefix
from stages.handover import storage
from stages.handover.manifests import read_json
from stages.words.japanese_subwords import read_vocabulary

SCRATCH = ".model.partial"
BEST_INDEX = "model.ckpt-best.index"


def configuration_beside(checkpoint: str) -> str | None:
    """The configuration that training left in the folder of a checkpoint, or None."""
    beside = storage.join(checkpoint.rpartition("/")[0] or ".", pytorch_checkpoint.CONFIG)
    return beside if storage.exists(checkpoint + ".index") and storage.exists(beside) else None


@contextlib.contextmanager
def fetched_inputs(paths: dict[str, str | None]) -> Iterator[dict[str, str | None]]:
    """The same inputs on this machine: of what lies at gs://, copies in the temporary folder while the body runs.

    Of a TensorFlow checkpoint, all files that begin with its name, or a folder's best one; of PyTorch's, those of its
    folder. A Refusal names the given paths.
    """
    with tempfile.TemporaryDirectory(prefix="convert-") as scratch:
        copies = {}
        for number, (name, path) in enumerate(paths.items()):
            copies[name] = path
            if path and storage.remote(path):
                folder = os.path.join(scratch, str(number))
                os.mkdir(folder)
                copies[name] = _fetched(path, folder, prefix=name == "checkpoint")
        try:
            yield copies
        except Refusal as refusal:
            text = str(refusal)
            for name, path in paths.items():
                text = text.replace(str(copies[name]), str(path))
            raise type(refusal)(text)


def _fetched(path: str, folder: str, prefix: bool) -> str:
    if not prefix:
        try:
            return storage.fetch(path, os.path.join(folder, storage.name_of(path)))
        except OSError as error:
            raise Refusal(f"cannot read {path}: {error.strerror}")
    if BEST_INDEX in storage.names(path):
        path = storage.join(path, BEST_INDEX.removesuffix(".index"))
    elif of_pytorch := pytorch_checkpoint.find_folder(path):
        present = storage.names(of_pytorch)
        storage.fetch_all(of_pytorch, [name for name in pytorch_checkpoint.FILES if name in present], folder)
        return folder
    place, _, base = path.rpartition("/")
    names = [
        name
        for name in storage.names(place)
        if name.startswith((base + ".index", base + ".data", base + ".ref", base + ".json"))
    ]
    storage.fetch_all(place, names, folder)
    return os.path.join(folder, base)


def open_checkpoint(path: str) -> Checkpoint:
    """The checkpoint at a prefix, or in a folder; Refusal where it is not there or damaged."""
    prefix = open_prefix(path)
    try:
        checkpoint = Checkpoint(prefix)
    except OSError as error:
        raise Refusal(
            f"cannot read {prefix}.index: {error.strerror}; --checkpoint takes the prefix of a TensorFlow "
            "checkpoint, such as …/model.ckpt-best, or the folder of a PyTorch one, such as …/best"
        )
    except BadCheckpoint as error:
        raise Refusal(str(error))
    for data in checkpoint.data_files():
        if not os.path.exists(data):
            raise Refusal(f"{data} is missing; a checkpoint is its .index and all of its .data files")
    try:
        checkpoint.check()
    except BadCheckpoint as error:
        raise Refusal(str(error))
    return checkpoint


def tensorflow_metrics(prefix: str, digests: list[str]) -> dict[str, float]:
    """What tpu-train measured of its best checkpoint, PREFIX.json; nothing where it is of another one, or not there."""
    if not os.path.exists(prefix + ".json"):
        return {}
    row = read_json(prefix + ".json")
    if not isinstance(row, dict) or row.get("sha256") != digests:
        return {}
    return pytorch_checkpoint.metrics_of(row)


def open_config(path: str) -> dict[str, Any]:
    """The configuration in TensorFlow's form."""
    config = read_json(path)
    if not isinstance(config, dict):
        raise Refusal(f"{path} holds no configuration (a JSON object)")
    return config


def open_vocabulary(path: str, entries: int) -> dict[str, int]:
    """The vocabulary; Refusal where it has not as many entries as the configuration."""
    try:
        vocabulary = read_vocabulary(path)
    except OSError as error:
        raise Refusal(f"cannot read {path}: {error.strerror}; make vocab writes it")
    except ValueError as error:
        raise Refusal(str(error))
    if len(vocabulary) != entries:
        raise Refusal(
            f"{path} has {len(vocabulary):,} entries, but vocab_size is {entries:,} in the configuration; "
            "take the vocabulary that the model was trained with"
        )
    return vocabulary


def fresh_scratch(out: str) -> str:
    """An empty folder for files that are not whole yet: inside `out`, or, where that is a bucket, a temporary one."""
    if storage.written_once(out):
        return tempfile.mkdtemp(prefix="model-")
    scratch = os.path.join(out, SCRATCH)
    shutil.rmtree(scratch, ignore_errors=True)
    os.mkdir(scratch)
    return scratch


def publish(scratch: str, out: str) -> list[str]:
    """Move the whole files from `scratch` to `out`; gives their names."""
    names = sorted(os.listdir(scratch))
    for name in names:
        # safetensors makes its files readable for their owner alone; they are to be read like the others.
        os.chmod(os.path.join(scratch, name), 0o666 & ~_umask())
    storage.put_all([(os.path.join(scratch, name), storage.join(out, name)) for name in names])
    os.rmdir(scratch)
    return names


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
