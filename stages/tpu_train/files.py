"""Folders on this machine or at ``gs://`` → listings, whole files, the claim and the manifest of a run.

Local folders go through ``stages.handover`` and need no TensorFlow. Anything with ``://`` goes through
TensorFlow's own file layer, imported only then.
"""

import contextlib
import os
import shutil
import tempfile
from typing import IO, Any, Dict, Iterator, List

from stages import handover
from stages.handover import MANIFEST, RUN, Refusal

STAGE = "tpu-train"


def remote(path: str) -> bool:
    """Whether ``path`` is a URL such as ``gs://bucket/folder`` and not a local path."""
    return "://" in path


def join(folder: str, name: str) -> str:
    return folder.rstrip("/") + "/" + name if remote(folder) else os.path.join(folder, name)


def names(folder: str) -> List[str]:
    """The sorted names in ``folder``; empty when there is no such folder."""
    if not remote(folder):
        return sorted(os.listdir(folder)) if os.path.isdir(folder) else []
    with _reaching(folder) as gfile:
        return sorted(name.rstrip("/") for name in gfile.ListDirectory(folder)) if gfile.IsDirectory(folder) else []


def size(path: str) -> int:
    """The length of a file in bytes."""
    if not remote(path):
        return os.path.getsize(path)
    with _reaching(path) as gfile:
        return int(gfile.Stat(path).length)


@contextlib.contextmanager
def fetched(path: str) -> Iterator[str]:
    """A local path with the bytes of ``path``: itself, or a copy that is gone afterwards."""
    if not remote(path):
        yield path
        return
    with tempfile.TemporaryDirectory() as folder:
        local = os.path.join(folder, os.path.basename(path))
        with _reaching(path) as gfile:
            gfile.Copy(path, local)
        yield local


@contextlib.contextmanager
def whole(path: str, mode: str = "wb") -> Iterator[IO[Any]]:
    """A stream whose bytes get the name ``path`` only when all are written; nothing is left on failure."""
    with _target(path) as local, handover.whole_file(local, mode) as stream:
        yield stream


def write_json(path: str, value: Any) -> None:
    """``value`` as JSON, whole or not at all."""
    with _target(path) as local:
        handover.write_json(local, value)


def copy(source: str, target: str) -> None:
    """``source`` once more as ``target``, whole or not at all."""
    with fetched(source) as path, open(path, "rb") as stream, whole(target) as out:
        shutil.copyfileobj(stream, out, 1 << 20)


def remove(path: str) -> None:
    if not remote(path):
        os.remove(path)
        return
    with _reaching(path) as gfile:
        gfile.Remove(path)


def read_json(path: str) -> Any:
    with fetched(path) as local:
        return handover.read_json(local)


def describe(path: str) -> Dict[str, Any]:
    """Size in bytes and SHA-256 of a file."""
    with fetched(path) as local:
        return handover.describe(local)


def read_manifest(folder: str, stage: str) -> Dict[str, Any]:
    """The manifest that ``stage`` left in ``folder``."""
    with _local_stand_in(folder) as local:
        return handover.read_manifest(local, stage)


def claim(out: str, options: Dict[str, Any], inputs: Dict[str, Any]) -> bool:
    """Make ``out`` the folder of this very run. True when the run is already finished there."""
    with _local_stand_in(out) as local:
        finished = handover.claim(STAGE, local, options, inputs)
        if local != out and not finished and RUN not in names(out):
            with _reaching(out) as gfile:
                gfile.MakeDirs(out)
            copy(os.path.join(local, RUN), join(out, RUN))
    return finished


def write_manifest(out: str, options: Dict[str, Any], inputs: Dict[str, Any], **sections: Any) -> None:
    """Finish the run in ``out`` with its manifest."""
    with _local_stand_in(out) as local:
        handover.write_manifest(STAGE, local, options, inputs, **sections)
        if local != out:
            copy(os.path.join(local, MANIFEST), join(out, MANIFEST))
            remove(join(out, RUN))


@contextlib.contextmanager
def _target(path: str) -> Iterator[str]:
    """A local path to write to: ``path`` itself, or a file that is uploaded when the body is through."""
    if not remote(path):
        yield path
        return
    with tempfile.TemporaryDirectory() as folder:
        local = os.path.join(folder, os.path.basename(path))
        yield local
        # An object in a bucket appears whole when its upload ends.
        with _reaching(path) as gfile:
            gfile.Copy(local, path, overwrite=True)


@contextlib.contextmanager
def _local_stand_in(folder: str) -> Iterator[str]:
    """``folder`` itself, or a local one with the same names of which only run.json and manifest.json are filled."""
    if not remote(folder):
        yield folder
        return
    with tempfile.TemporaryDirectory() as local:
        for name in names(folder):
            if name in (RUN, MANIFEST):
                copy(join(folder, name), os.path.join(local, name))
            else:
                open(os.path.join(local, name), "wb").close()
        try:
            yield local
        except Refusal as refusal:
            raise Refusal(str(refusal).replace(local, folder))


@contextlib.contextmanager
def _reaching(path: str) -> Iterator[Any]:
    """TensorFlow's file layer; its errors become a ``Refusal`` that names ``path``."""
    from stages.tpu_train.tensorflow_albert import tf

    try:
        yield tf.gfile
    except tf.errors.OpError as error:
        raise Refusal("cannot reach %s: %s" % (path, str(error.message).splitlines()[0]))
