"""The folders of a run at gs:// → the folders in which TensorFlow works: the same ones, or copies on this machine.

TensorFlow's own access to gs:// (native) signs in as Google's machines do, and its address is fixed. Where that does
not work, as with an emulator, the run works on copies (staged). The TFRecords and the state of the run are fetched
before training. After every checkpoint and evaluation new files are uploaded, in an order in which the bucket never
names a checkpoint that it does not hold.
"""

import contextlib
import dataclasses
import os
import re
import shutil
import sys
import tempfile
import zlib
from typing import Callable, Dict, Iterator, NamedTuple, Optional

from stages.command.refusal import Refusal
from stages.formats.shards import Shards
from stages.handover import lock, storage
from stages.handover.manifests import MANIFEST, RUN
from stages.handover.storage import PARTIAL
from stages.tpu_train.options import Options
from stages.tpu_train.results import LOSSES

NATIVE, STAGED = "native", "staged"
EMULATOR = "STORAGE_EMULATOR_HOST"
# The temporary files and checkpoint folders of TensorFlow, which a killed run leaves.
UNFINISHED = re.compile(r".*(\.tmp[0-9a-f]{32}|_temp_[0-9a-f]{32}(/part-.*)?|\.tempstate\d+.*)/?")
CHECKPOINT = re.compile(r"model\.ckpt-\d+\..*")
# The files that name others. They are uploaded last, in this order.
BEST_RECORD, LIST = "model.ckpt-best.json", "checkpoint"
# Files that a run does not need to resume.
NOT_FETCHED = re.compile(r"events\.out\..*|graph\.pbtxt|.*/|%s" % "|".join(map(re.escape, (lock.NAME, RUN, MANIFEST))))


class Workspace(NamedTuple):
    """Options and shards with the paths for TensorFlow. ``publish`` uploads a new checkpoint or evaluation."""

    options: Options
    shards: Shards
    publish: Callable[[], None]


def mode(options: Options) -> Optional[str]:
    """How TensorFlow reads and writes gs://: NATIVE or STAGED; None without a folder at gs://."""
    if not any(map(storage.remote, (options.tfrecords, options.out, options.init_checkpoint or ""))):
        return None
    if options.storage != "auto":
        return options.storage
    return STAGED if os.environ.get(EMULATOR) else NATIVE


def mode_sentence(options: Options) -> str:
    """``mode`` for a person; empty without a folder at gs://."""
    return {
        None: "",
        NATIVE: "TensorFlow reads and writes gs:// itself (--storage native)",
        STAGED: "gs:// by copies in %s, uploaded with every checkpoint (--storage staged)"
        % (options.scratch or tempfile.gettempdir()),
    }[mode(options)]


@contextlib.contextmanager
def workspace(options: Options, shards: Shards) -> Iterator[Workspace]:
    """The folders themselves, or copies. Copies outside --scratch are removed at the end."""
    if mode(options) != STAGED:
        yield Workspace(options, shards, lambda: None)
        return
    with contextlib.ExitStack() as stack:
        scratch = options.scratch or stack.enter_context(tempfile.TemporaryDirectory(prefix="tpu-train-"))
        if storage.remote(shards.folder):
            shards = dataclasses.replace(shards, folder=_fetch_shards(shards, scratch))
        if storage.remote(options.init_checkpoint or ""):
            checkpoint = _fetch_checkpoint(str(options.init_checkpoint), scratch)
            options = dataclasses.replace(options, init_checkpoint=checkpoint)
        out = copy = options.out
        if storage.remote(out):
            copy = _fetch_run(out, scratch)
        try:
            yield Workspace(dataclasses.replace(options, out=copy), shards, lambda: _publish(copy, out))
        except Refusal as refusal:
            raise type(refusal)(str(refusal).replace(copy, out))


def _fetch_shards(shards: Shards, scratch: str) -> str:
    """The folder with copies of the shards. Its name has a checksum of the TFRecords."""
    sizes = storage.files_below(shards.folder)
    checksum = zlib.crc32(repr(sorted(shards.identity["files"].items())).encode())
    folder = os.path.join(scratch, "tfrecords-%08x" % checksum)
    os.makedirs(folder, exist_ok=True)
    missing = [name for name in shards.train + shards.held_out if not _has_size(folder, name, sizes[name])]
    needed, free = sum(sizes[name] for name in missing), shutil.disk_usage(folder).free
    if needed > free:
        raise Refusal(
            "copies of %s take %.1f GB and %s has room for %.1f GB; name a larger folder with --scratch"
            % (shards.folder, needed / 1e9, scratch, free / 1e9)
        )
    if missing:
        print(
            "tpu-train: fetching %d files, %.1f MB, of %s" % (len(missing), needed / 1e6, shards.folder),
            file=sys.stderr,
        )
    storage.fetch_all(shards.folder, missing, folder)
    return folder


def _has_size(folder: str, name: str, size: int) -> bool:
    path = os.path.join(folder, name)
    return os.path.exists(path) and os.path.getsize(path) == size


def _fetch_checkpoint(prefix: str, scratch: str) -> str:
    folder, _, name = prefix.rpartition("/")
    copy = tempfile.mkdtemp(prefix="init-", dir=scratch)
    storage.fetch_all(folder, [file for file in storage.names(folder) if file.startswith(name + ".")], copy)
    return os.path.join(copy, name)


def _fetch_run(out: str, scratch: str) -> str:
    """A new folder with the files from which the run at ``out`` resumes. Files of an earlier run are removed."""
    os.makedirs(scratch, exist_ok=True)
    copy = os.path.join(scratch, "run")
    shutil.rmtree(copy, ignore_errors=True)
    os.makedirs(copy)
    names = [name for name in storage.names(out) if not NOT_FETCHED.fullmatch(name) and not name.endswith(PARTIAL)]
    storage.fetch_all(out, names, copy)
    return copy


def _publish(copy: str, out: str) -> None:
    """Make the bucket equal to the copy: upload in the order of ``_upload_rank``, then remove old checkpoints."""
    if not storage.remote(out):
        return
    # Imported late: local runs do not need it.
    from stages.handover import cloud_storage

    remote = storage.files_below(out)
    if BEST_RECORD in remote and not _same(os.path.join(copy, BEST_RECORD), storage.join(out, BEST_RECORD)):
        storage.remove(storage.join(out, BEST_RECORD))
    local: Dict[str, int] = storage.files_below(copy)
    for name in sorted(local, key=lambda name: (_upload_rank(name), name)):
        path = os.path.join(copy, name)
        with contextlib.ExitStack() as stack:
            if "events.out." in name:
                # TensorFlow may write to it during the upload.
                path = shutil.copy(path, stack.enter_context(tempfile.TemporaryDirectory()))
            cloud_storage.upload(path, storage.join(out, name))
    for name in remote:
        if CHECKPOINT.fullmatch(name) and name not in local:
            storage.remove(storage.join(out, name))


def _upload_rank(name: str) -> int:
    """Losses, tensors, their index, the rest, the files that name them."""
    if name == LOSSES:
        # It may be ahead of the checkpoint, where it is truncated, but never behind it.
        return -1
    if name in (BEST_RECORD, LIST):
        return 3
    return 0 if ".data-" in name else 1 if name.endswith(".index") else 2


def _same(local: str, path: str) -> bool:
    return os.path.exists(local) and storage.sha256(local) == storage.sha256(path)


def remove_unfinished(folder: str) -> None:
    """Remove the temporary files that a killed run has left in a folder of this machine."""
    for name in () if storage.remote(folder) else storage.names(folder):
        if not UNFINISHED.fullmatch(name):
            continue
        path = storage.join(folder, name.rstrip("/"))
        if os.path.isdir(path):
            shutil.rmtree(path)
        else:
            storage.remove(path)
