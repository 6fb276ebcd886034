"""A path on this machine or at gs://bucket/prefix → whole files, streams and listings, by the same names.

Everything that a stage reads or writes goes through here, so that no stage knows where its folders are. What lies in
Cloud Storage is read as a stream; what goes there is collected in the temporary folder (TMPDIR) first. Runs on
Python 3.7 as well, and loads Google's client only for gs://.
"""

import contextlib
import errno
import hashlib
import io
import os
import shutil
import tempfile
from typing import IO, Any, Callable, Dict, Iterable, Iterator, List, Sequence, Tuple

from stages.command.refusal import NO_ROOM, UNREACHED, Refusal, unwritable

PARTIAL = ".partial"
SCHEME = "gs://"
# Mounts in which a file is an object of a bucket.
BUCKET_MOUNTS = ("fuse.rclone", "fuse.gcsfuse")
# Files on their way at a time: as many as the connections that requests keeps open.
TRANSFERS = 8


def remote(path: str) -> bool:
    """Whether a path is in Cloud Storage."""
    return path.startswith(SCHEME)


def written_once(folder: str) -> bool:
    """Whether a file there is to be written from beginning to end, once: in Cloud Storage, and where it is mounted.

    Such a mount uploads a file that is written so before close() returns; one that was appended to comes later, and
    after the manifest that names it.
    """
    return remote(folder) or _file_system(folder) in BUCKET_MOUNTS


def _file_system(folder: str) -> str:
    """The kind of the mount that a folder of this machine is in, as the system calls it; nothing where it does not."""
    place = os.path.realpath(folder) + "/"
    try:
        with open("/proc/self/mounts", encoding="utf-8", errors="replace") as stream:
            mounts = [line.split()[1:3] for line in stream]
    except OSError:
        return ""
    # The nearest above it, and of two at one place the later.
    above = [
        (len(point), n, kind) for n, (point, kind) in enumerate(mounts) if place.startswith(point.rstrip("/") + "/")
    ]
    return max(above)[2] if above else ""


def join(folder: str, *names: str) -> str:
    """The path of something in a folder."""
    if not remote(folder):
        return os.path.join(folder, *names)
    return "/".join([folder.rstrip("/"), *names])


def name_of(path: str) -> str:
    """The last part of a path."""
    return os.path.basename(path.rstrip("/"))


def names(folder: str) -> List[str]:
    """The sorted names in a folder, those of folders with "/" behind them; none where there is no such folder."""
    if remote(folder):
        from stages.handover import cloud_storage

        return cloud_storage.names(folder)
    try:
        with os.scandir(folder) as entries:
            return sorted(entry.name + "/" * entry.is_dir() for entry in entries)
    except (FileNotFoundError, NotADirectoryError):
        return []


def files_below(folder: str) -> Dict[str, int]:
    """All files in a folder and in those below it: path within it, with "/" between names → bytes, sorted."""
    if remote(folder):
        from stages.handover import cloud_storage

        return {name: stored.size for name, stored in cloud_storage.objects_below(folder).items()}
    found = {}
    for place, _, inside in os.walk(folder):
        for name in inside:
            path = os.path.join(place, name)
            found[os.path.relpath(path, folder).replace(os.sep, "/")] = os.path.getsize(path)
    return dict(sorted(found.items()))


def exists(path: str) -> bool:
    """Whether there is a file of this name."""
    if remote(path):
        from stages.handover import cloud_storage

        return cloud_storage.look_at(path) is not None
    return os.path.exists(path)


def is_folder(path: str) -> bool:
    """Whether there is such a folder: in Cloud Storage, whether anything lies below it."""
    return bool(names(path)) if remote(path) else os.path.isdir(path)


def size(path: str) -> int:
    """The length of a file in bytes. FileNotFoundError where there is none."""
    if remote(path):
        from stages.handover import cloud_storage

        return cloud_storage.found(path).size
    return os.path.getsize(path)


def make_folder(path: str) -> None:
    """Make a folder and those above it; Cloud Storage has none to make."""
    if not remote(path):
        os.makedirs(path, exist_ok=True)


def remove(path: str) -> None:
    """Remove a file, if it is there."""
    if remote(path):
        from stages.handover import cloud_storage

        cloud_storage.remove(path)
    else:
        with contextlib.suppress(FileNotFoundError):
            os.remove(path)


def remove_all(folder: str, names: Iterable[str]) -> None:
    """Remove files of a folder, those that are there."""
    concurrently(remove, [join(folder, name) for name in names])


def concurrently(function: Callable[[Any], Any], things: Sequence[Any]) -> List[Any]:
    """``function`` of each thing, in their order; TRANSFERS of them at a time where they wait for Cloud Storage."""
    if not any(remote(thing) for pair in things for thing in (pair if isinstance(pair, tuple) else (pair,))):
        return [function(thing) for thing in things]
    from concurrent.futures import ThreadPoolExecutor

    from stages.handover import cloud_storage

    try:
        with ThreadPoolExecutor(TRANSFERS) as pool:
            try:
                return list(pool.map(function, things))
            except BaseException:
                # Leaving the pool waits for what is on its way.
                cloud_storage.stopping.set()
                raise
    finally:
        cloud_storage.stopping.clear()


@contextlib.contextmanager
def reading(path: str) -> Iterator[IO[bytes]]:
    """The bytes of a file as a stream. From Cloud Storage they are of one generation, and checked at their end."""
    if remote(path):
        from stages.handover import cloud_storage

        with io.BufferedReader(cloud_storage.Reader(path), 1 << 18) as buffered:
            yield buffered
    else:
        with open(path, "rb") as stream:
            yield stream


@contextlib.contextmanager
def whole_file(path: str, mode: str = "wb") -> Iterator[IO[Any]]:
    """A file that gets its name only when it is complete and on disk, or in its bucket.

    Written as ``.<name>.<random>.partial`` beside it, synchronised, then renamed over ``path``: two who
    write the same file (a task that a cluster has given up, and its second try) are not in each other's way.
    When the body fails, nothing is left. Text modes are UTF-8 with plain newlines.
    """
    folder, name = (tempfile.gettempdir(), name_of(path)) if remote(path) else os.path.split(os.path.abspath(path))
    temporary = os.path.join(folder, ".%s.%s%s" % (name, os.urandom(4).hex(), PARTIAL))
    text = {} if "b" in mode else {"encoding": "utf-8", "newline": "\n"}
    try:
        with open(temporary, mode, **text) as stream:  # type: ignore[call-overload]
            yield stream
            stream.flush()
            if not remote(path):
                os.fsync(stream.fileno())
        put(temporary, path)
    except BaseException as error:
        with contextlib.suppress(OSError):
            os.remove(temporary)
        if isinstance(error, OSError) and error.errno in (*NO_ROOM, *UNREACHED):
            raise unwritable(temporary if remote(path) else path, error)
        raise


def put(local: str, path: str) -> None:
    """Move a finished local file to its name, or to its bucket."""
    if remote(path):
        from stages.handover import cloud_storage

        cloud_storage.upload(local, path)
        os.remove(local)
        return
    try:
        os.replace(local, path)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        with open(local, "rb") as stream, whole_file(path) as out:
            shutil.copyfileobj(stream, out, 1 << 20)
        os.remove(local)


@contextlib.contextmanager
def fetched(path: str) -> Iterator[str]:
    """A local path with the bytes of a file: itself, or a copy that is gone afterwards."""
    if not remote(path):
        yield path
        return
    with tempfile.TemporaryDirectory() as folder:
        yield fetch(path, os.path.join(folder, name_of(path)))


def fetch(path: str, local: str) -> str:
    """Copy a file to a local path, whole or not at all; gives that path."""
    with whole_file(local) as out, reading(path) as stream:
        shutil.copyfileobj(stream, out, 1 << 20)
    return local


def put_all(pairs: Sequence[Tuple[str, str]]) -> None:
    """``put`` of each pair of a local file and its name."""
    concurrently(lambda pair: put(*pair), pairs)


def fetch_all(folder: str, names: Iterable[str], local: str) -> None:
    """Copy files of a folder to a local one, each whole or not at all."""
    make_folder(local)
    concurrently(lambda pair: fetch(*pair), [(join(folder, name), os.path.join(local, name)) for name in names])


def sha256(path: str) -> str:
    """The SHA-256 of a file's bytes, in hexadecimal."""
    digest = hashlib.sha256()
    with reading(path) as stream:
        for block in iter(lambda: stream.read(1 << 20), b""):
            digest.update(block)
    return digest.hexdigest()


def describe(path: str) -> Dict[str, Any]:
    """What a manifest says of every file: its size in bytes and its SHA-256."""
    return {"bytes": size(path), "sha256": sha256(path)}


def leads_out(name: str) -> bool:
    """Whether a name is none of a file in its folder, or below it: ``../x``, ``/x``, ``a//b``."""
    return any(part in ("", ".", "..") or "\\" in part or "\0" in part for part in name.split("/"))


def refuse_leading_out(name: str, where: str) -> None:
    """``Refusal`` for a name that leads out of its folder. ``where`` says it."""
    if leads_out(name):
        raise Refusal("%s names a file outside of its folder: %r; take it from where it was made again" % (where, name))
