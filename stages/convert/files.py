"""The stage's inputs (checkpoint, configuration, vocabulary) and its output, a model folder."""

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from typing import Any

from stages.command.refusal import Refusal
from stages.convert import pytorch_checkpoint
from stages.convert.checkpoint import BEST, BadCheckpoint, Checkpoint, open_prefix
from stages.handover import storage
from stages.handover.manifests import read_json
from stages.words.japanese_subwords import read_vocabulary

SCRATCH = ".model.partial"


def configuration_beside(checkpoint: str) -> str | None:
    """The configuration that training wrote beside a TensorFlow checkpoint, or None."""
    path = storage.join(checkpoint.rpartition("/")[0] or ".", pytorch_checkpoint.CONFIG)
    return path if storage.exists(checkpoint + ".index") and storage.exists(path) else None


@contextlib.contextmanager
def local_inputs(paths: dict[str, str | None]) -> Iterator[dict[str, str | None]]:
    """The same paths, those at gs:// replaced by temporary local copies. A Refusal names the original paths."""
    with tempfile.TemporaryDirectory(prefix="convert-") as scratch:
        copies = {}
        for number, (name, path) in enumerate(paths.items()):
            copies[name] = path
            if path and storage.remote(path):
                folder = os.path.join(scratch, str(number))
                os.mkdir(folder)
                copies[name] = (_fetch_checkpoint if name == "checkpoint" else _fetch_file)(path, folder)
        try:
            yield copies
        except Refusal as refusal:
            text = str(refusal)
            for name, path in paths.items():
                text = text.replace(str(copies[name]), str(path))
            raise type(refusal)(text)


def _fetch_file(path: str, folder: str) -> str:
    try:
        return storage.fetch(path, os.path.join(folder, storage.name_of(path)))
    except OSError as error:
        raise Refusal(f"cannot read {path}: {error.strerror}")


def _fetch_checkpoint(path: str, folder: str) -> str:
    """Fetch the files of a PyTorch folder, or all files of a TensorFlow prefix, or of the best one in a folder."""
    if BEST + ".index" in storage.names(path):
        path = storage.join(path, BEST)
    elif source := pytorch_checkpoint.find_folder(path):
        names = storage.names(source)
        storage.fetch_all(source, [name for name in pytorch_checkpoint.FILES if name in names], folder)
        return folder
    source, _, base = path.rpartition("/")
    prefixes = tuple(base + suffix for suffix in (".index", ".data", ".ref", ".json"))
    storage.fetch_all(source, [name for name in storage.names(source) if name.startswith(prefixes)], folder)
    return os.path.join(folder, base)


def open_checkpoint(path: str) -> Checkpoint:
    """The TensorFlow checkpoint at a prefix or in a folder. Raises Refusal if it is missing or damaged."""
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
    """The metrics in tpu-train's PREFIX.json; {} if there is none, or if it belongs to another checkpoint."""
    if not os.path.exists(prefix + ".json"):
        return {}
    row = read_json(prefix + ".json")
    if not isinstance(row, dict) or row.get("sha256") != digests:
        return {}
    return pytorch_checkpoint.evaluation_metrics(row)


def open_config(path: str) -> dict[str, Any]:
    """The configuration in TensorFlow's form."""
    config = read_json(path)
    if not isinstance(config, dict):
        raise Refusal(f"{path} holds no configuration (a JSON object)")
    return config


def open_vocabulary(path: str, entries: int) -> dict[str, int]:
    """The vocabulary. Raises Refusal if it does not have as many entries as the configuration."""
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
    """An empty folder for unfinished files: in `out`, or in the temporary folder if `out` is in a bucket."""
    if storage.written_once(out):
        return tempfile.mkdtemp(prefix="model-")
    scratch = os.path.join(out, SCRATCH)
    shutil.rmtree(scratch, ignore_errors=True)
    os.mkdir(scratch)
    return scratch


def publish(scratch: str, out: str) -> None:
    """Move all files from `scratch` to `out`, and remove `scratch`."""
    names = sorted(os.listdir(scratch))
    mask = os.umask(0)
    os.umask(mask)
    for name in names:
        # safetensors makes its files readable for their owner only.
        os.chmod(os.path.join(scratch, name), 0o666 & ~mask)
    storage.put_all([(os.path.join(scratch, name), storage.join(out, name)) for name in names])
    os.rmdir(scratch)
