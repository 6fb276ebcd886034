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
from typing import Callable, Iterator, NamedTuple, Optional

from stages.command.refusal import Refusal
from stages.formats.shards import Shards
from stages.handover import lock, storage
from stages.handover.manifests import MANIFEST, RUN
from stages.handover.storage import PARTIAL
from stages.tpu_train.options import Options

NATIVE, STAGED = "native", "staged"
EMULATOR = "STORAGE_EMULATOR_HOST"
LOSSES = "train_loss.tsv"
# The best checkpoint and its evaluation, and TensorFlow's list of all checkpoints.
BEST, BEST_RECORD, LIST = "model.ckpt-best", "model.ckpt-best.json", "checkpoint"
CHECKPOINT = re.compile(r"model\.ckpt-\d+\..*")
# The temporary files and checkpoint folders of TensorFlow, which a killed run leaves.
UNFINISHED = re.compile(r".*(\.tmp[0-9a-f]{32}|_temp_[0-9a-f]{32}(/part-.*)?|\.tempstate\d+.*)/?")
# Files that a run does not need to resume.
NOT_FETCHED = (lock.NAME, RUN, MANIFEST, "graph.pbtxt")


class Workspace(NamedTuple):
    """The paths for TensorFlow: OUT and the other inputs, or copies. ``publish`` uploads a checkpoint or evaluation."""

    out: str
    shards: Shards
    init_checkpoint: Optional[str]
    publish: Callable[[], None]


def mode(options: Options) -> str:
    """How TensorFlow reads and writes gs://: NATIVE or STAGED; empty without a folder at gs://."""
    if not any(map(storage.remote, (options.tfrecords, options.out, options.init_checkpoint or ""))):
        return ""
    if options.storage != "auto":
        return options.storage
    return STAGED if os.environ.get(EMULATOR) else NATIVE


def mode_sentence(options: Options) -> str:
    """``mode`` for a person; empty without a folder at gs://."""
    place = options.scratch or tempfile.gettempdir()
    return {
        "": "",
        NATIVE: "TensorFlow reads and writes gs:// itself (--storage native)",
        STAGED: f"gs:// by copies in {place}, uploaded with every checkpoint (--storage staged)",
    }[mode(options)]


@contextlib.contextmanager
def workspace(options: Options, shards: Shards) -> Iterator[Workspace]:
    """The folders themselves, or copies. Copies outside --scratch are removed at the end."""
    out, start = options.out, options.init_checkpoint
    if mode(options) != STAGED:
        yield Workspace(out, shards, start, lambda: None)
        return
    with contextlib.ExitStack() as stack:
        scratch = options.scratch or stack.enter_context(tempfile.TemporaryDirectory(prefix="tpu-train-"))
        os.makedirs(scratch, exist_ok=True)
        if storage.remote(shards.folder):
            shards = dataclasses.replace(shards, folder=_fetch_shards(shards, scratch))
        if start and storage.remote(start):
            folder, _, prefix = start.rpartition("/")
            copy = tempfile.mkdtemp(prefix="init-", dir=scratch)
            storage.fetch_all(folder, [name for name in storage.names(folder) if name.startswith(prefix + ".")], copy)
            start = os.path.join(copy, prefix)
        if not storage.remote(out):
            yield Workspace(out, shards, start, lambda: None)
            return
        # A new folder with the files from which the run resumes, in place of that of an earlier run.
        copy = os.path.join(scratch, "run")
        shutil.rmtree(copy, ignore_errors=True)
        names = [name for name in storage.names(out) if not name.startswith("events.out.") and name not in NOT_FETCHED]
        storage.fetch_all(out, [name for name in names if not name.endswith(("/", PARTIAL))], copy)
        yield Workspace(copy, shards, start, lambda: _publish(copy, out))


def _fetch_shards(shards: Shards, scratch: str) -> str:
    """The folder with copies of the shards. Its name has a checksum of the TFRecords."""
    checksum = zlib.crc32(repr(sorted(shards.identity["files"].items())).encode())
    folder = os.path.join(scratch, f"tfrecords-{checksum:08x}")
    os.makedirs(folder, exist_ok=True)
    sizes, present = storage.files_below(shards.folder), storage.files_below(folder)
    missing = [name for name in shards.train + shards.held_out if present.get(name) != sizes[name]]
    needed, free = sum(sizes[name] for name in missing), shutil.disk_usage(folder).free
    if needed > free:
        raise Refusal(
            f"copies of {shards.folder} take {needed / 1e9:.1f} GB and {scratch} has room for {free / 1e9:.1f} GB; "
            "name a larger folder with --scratch"
        )
    if missing:
        sentence = f"fetching {len(missing)} files, {needed / 1e6:.1f} MB, of {shards.folder}"
        print(f"tpu-train: {sentence}", file=sys.stderr)
    storage.fetch_all(shards.folder, missing, folder)
    return folder


def _publish(copy: str, out: str) -> None:
    """Make the bucket equal to the copy: upload in the order of ``_upload_rank``, then remove old checkpoints."""
    # Imported late: local runs do not need it.
    from stages.handover import cloud_storage

    remote, local = storage.files_below(out), storage.files_below(copy)
    record = storage.join(out, BEST_RECORD)
    if BEST_RECORD in remote:
        path = os.path.join(copy, BEST_RECORD)
        if BEST_RECORD not in local or storage.sha256(path) != storage.sha256(record):
            storage.remove(record)
    for name in sorted(local, key=lambda name: (_upload_rank(name), name)):
        path = os.path.join(copy, name)
        with contextlib.ExitStack() as stack:
            if "events.out." in name:
                # TensorFlow may write to it during the upload.
                path = shutil.copy(path, stack.enter_context(tempfile.TemporaryDirectory()))
            cloud_storage.upload(path, storage.join(out, name))
    storage.remove_all(out, [name for name in remote if CHECKPOINT.fullmatch(name) and name not in local])


def _upload_rank(name: str) -> int:
    """Losses, tensors, their index, the rest, the files that name them."""
    if name == LOSSES:
        # It may be ahead of the checkpoint, where it is truncated, but never behind it.
        return -1
    if name in (BEST_RECORD, LIST):
        return 3
    return 0 if ".data-" in name else 1 if name.endswith(".index") else 2


def remove_unfinished(folder: str) -> None:
    """Remove the temporary files that a killed run has left in a folder of this machine."""
    for name in () if storage.remote(folder) else storage.names(folder):
        path = os.path.join(folder, name)
        if not UNFINISHED.fullmatch(name):
            continue
        if name.endswith("/"):
            shutil.rmtree(path)
        else:
            os.remove(path)
