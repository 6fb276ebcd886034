"""A checkpoint, its configuration and its vocabulary in, a model folder out."""

import os
import shutil
from typing import Any

from stages.convert.checkpoint import BadCheckpoint, Checkpoint, open_prefix
from stages.handover import Refusal, read_json
from stages.tokenizer.japanese_subwords import read_vocabulary

SCRATCH = ".model.partial"


def open_checkpoint(path: str) -> Checkpoint:
    """The checkpoint at a prefix, or in a folder; Refusal where it is not there or damaged."""
    prefix = open_prefix(path)
    try:
        checkpoint = Checkpoint(prefix)
    except OSError as error:
        raise Refusal(
            f"cannot read {prefix}.index: {error.strerror}; --checkpoint takes the prefix of a TensorFlow "
            "checkpoint, such as …/model.ckpt-best"
        )
    except BadCheckpoint as error:
        raise Refusal(str(error))
    for data in checkpoint.data_files():
        if not os.path.exists(data):
            raise Refusal(f"{data} is missing; a checkpoint is its .index and all of its .data files")
    return checkpoint


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
    """An empty folder inside `out` for files that are not whole yet."""
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
        os.replace(os.path.join(scratch, name), os.path.join(out, name))
    os.rmdir(scratch)
    return names


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
