"""A run's folders at gs:// → where TensorFlow reads and writes: there itself, or copies on this machine.

TensorFlow's own layer for gs:// (native) signs in as Google's machines do, and its address is built in. Where that does
not serve, as with an emulator, the run works on copies (staged): the TFRecords and what a run resumes from are fetched
before training, and after every checkpoint and evaluation all that is new is uploaded, so that the bucket never names
a checkpoint that it does not hold.
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
# The temporary names of TensorFlow: a file of its own, and a checkpoint's folder, which a run that was killed leaves.
UNFINISHED = re.compile(r".*(\.tmp[0-9a-f]{32}|_temp_[0-9a-f]{32}(/part-.*)?|\.tempstate\d+.*)/?")
CHECKPOINT = re.compile(r"model\.ckpt-\d+\..*")
# What is uploaded after the rest, in this order: what says that the files before it are there and belong together.
BEST_RECORD, LIST = "model.ckpt-best.json", "checkpoint"
# Files that a run does not resume from.
LEFT = re.compile(r"events\.out\..*|graph\.pbtxt|.*/|%s" % "|".join(map(re.escape, (lock.NAME, RUN, MANIFEST))))


class Workplace(NamedTuple):
    """What training works with: the options and shards with their paths as TensorFlow takes them."""

    options: Options
    shards: Shards
    # To be called when a checkpoint or an evaluation is complete.
    publish: Callable[[], None]


def way(options: Options) -> Optional[str]:
    """How TensorFlow gets at gs://: natively or by copies; None where no folder is there."""
    if not any(map(storage.remote, (options.tfrecords, options.out, options.init_checkpoint or ""))):
        return None
    if options.storage != "auto":
        return options.storage
    return STAGED if os.environ.get(EMULATOR) else NATIVE


def way_in_words(options: Options) -> str:
    """``way`` for a person; nothing where no folder is at gs://."""
    return {
        None: "",
        NATIVE: "TensorFlow reads and writes gs:// itself (--storage native)",
        STAGED: "gs:// by copies in %s, uploaded with every checkpoint (--storage staged)"
        % (options.scratch or tempfile.gettempdir()),
    }[way(options)]


@contextlib.contextmanager
def workplace(options: Options, shards: Shards) -> Iterator[Workplace]:
    """Where TensorFlow works: the folders themselves, or copies that are gone afterwards (not those in --scratch)."""
    if way(options) != STAGED:
        yield Workplace(options, shards, lambda: None)
        return
    with contextlib.ExitStack() as stack:
        scratch = options.scratch or stack.enter_context(tempfile.TemporaryDirectory(prefix="tpu-train-"))
        if storage.remote(shards.folder):
            shards = dataclasses.replace(shards, folder=_fetched_shards(shards, scratch))
        if storage.remote(options.init_checkpoint or ""):
            options = dataclasses.replace(
                options, init_checkpoint=_fetched_checkpoint(str(options.init_checkpoint), scratch)
            )
        out = copy = options.out
        if storage.remote(out):
            copy = _fetched_run(out, scratch)
        try:
            yield Workplace(dataclasses.replace(options, out=copy), shards, lambda: _publish(copy, out))
        except Refusal as refusal:
            raise type(refusal)(str(refusal).replace(copy, out))


def _fetched_shards(shards: Shards, scratch: str) -> str:
    """The folder with copies of the shards. One of another run's TFRecords has another name."""
    wanted = shards.train + shards.held_out
    there = storage.files_below(shards.folder)
    folder = os.path.join(scratch, "tfrecords-%08x" % _digest(shards))
    os.makedirs(folder, exist_ok=True)
    missing = [name for name in wanted if not _is_here(os.path.join(folder, name), there[name])]
    needed, free = sum(there[name] for name in missing), shutil.disk_usage(folder).free
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


def _digest(shards: Shards) -> int:
    return zlib.crc32(repr(sorted(shards.identity["files"].items())).encode())


def _is_here(path: str, size: int) -> bool:
    return os.path.exists(path) and os.path.getsize(path) == size


def _fetched_checkpoint(prefix: str, scratch: str) -> str:
    folder, _, name = prefix.rpartition("/")
    copy = tempfile.mkdtemp(prefix="init-", dir=scratch)
    storage.fetch_all(folder, [found for found in storage.names(folder) if found.startswith(name + ".")], copy)
    return os.path.join(copy, name)


def _fetched_run(out: str, scratch: str) -> str:
    """A folder with what a run at ``out`` resumes from; what an earlier run left in it is not trusted."""
    os.makedirs(scratch, exist_ok=True)
    copy = os.path.join(scratch, "run")
    shutil.rmtree(copy, ignore_errors=True)
    os.makedirs(copy)
    known = [name for name in storage.names(out) if not LEFT.fullmatch(name) and not name.endswith(PARTIAL)]
    storage.fetch_all(out, known, copy)
    return copy


def _publish(copy: str, out: str) -> None:
    """Make the bucket hold what the copy holds: losses, tensors, their index, the rest, and then what names them."""
    if not storage.remote(out):
        return
    from stages.handover import cloud_storage

    there = storage.files_below(out)
    if BEST_RECORD in there and not _same(os.path.join(copy, BEST_RECORD), storage.join(out, BEST_RECORD)):
        storage.remove(storage.join(out, BEST_RECORD))
    ours: Dict[str, int] = storage.files_below(copy)
    for name in sorted(ours, key=lambda name: (_rank(name), name)):
        local = os.path.join(copy, name)
        with contextlib.ExitStack() as stack:
            if "events.out." in name:
                # TensorFlow may write to it while it is read.
                local = shutil.copy(local, stack.enter_context(tempfile.TemporaryDirectory()))
            cloud_storage.upload(local, storage.join(out, name))
    for name in there:
        if CHECKPOINT.fullmatch(name) and name not in ours:
            storage.remove(storage.join(out, name))


def _rank(name: str) -> int:
    if name == LOSSES:
        # As on a disk: it may be ahead of the checkpoint, and is then cut off, and never behind it.
        return -1
    if name in (BEST_RECORD, LIST):
        return 3
    return 0 if ".data-" in name else 1 if name.endswith(".index") else 2


def _same(local: str, path: str) -> bool:
    return os.path.exists(local) and storage.sha256(local) == storage.sha256(path)


def remove_unfinished(folder: str) -> None:
    """Remove what TensorFlow has begun to write in a folder of this machine, and a run that ended there has left."""
    for name in () if storage.remote(folder) else storage.names(folder):
        path = storage.join(folder, name.rstrip("/"))
        if not UNFINISHED.fullmatch(name):
            continue
        if os.path.isdir(path):
            shutil.rmtree(path)
        else:
            storage.remove(path)
