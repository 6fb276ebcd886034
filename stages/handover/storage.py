"""Files, streams and listings of local paths and of gs://bucket/prefix, by the same functions.

A stage does not know where its folders are. A file in Cloud Storage is read as a stream, and written to the temporary
folder (TMPDIR) before it is uploaded. Google's client is loaded only for gs://. Python 3.7 or later.
"""

import contextlib
import errno
import hashlib
import io
import os
import shutil
import tempfile
from typing import IO, Any, Callable, Dict, Iterable, Iterator, List, Sequence, Tuple

from stages.command.folders import remote as remote
from stages.command.refusal import NO_ROOM, UNREACHED, unwritable

PARTIAL = ".partial"
# File systems in which a file is an object of a bucket.
BUCKET_MOUNTS = ("fuse.rclone", "fuse.gcsfuse")
# Concurrent transfers: the number of connections that requests keeps open.
TRANSFERS = 8


def written_once(folder: str) -> bool:
    """Whether files there must be written once, from beginning to end: in Cloud Storage and in a mount of it.

    Such a mount uploads a file that is written once before close() returns. It uploads a file that was appended to
    later, after the manifest that lists it.
    """
    return remote(folder) or _file_system(folder) in BUCKET_MOUNTS


def _file_system(folder: str) -> str:
    """The file system of a local folder, by its name in /proc/self/mounts; empty if unknown."""
    place = os.path.realpath(folder) + "/"
    try:
        with open("/proc/self/mounts", encoding="utf-8", errors="replace") as stream:
            mounts = [line.split()[1:3] for line in stream]
    except OSError:
        return ""
    # The nearest mount above the folder; the later one of two at the same point.
    above = [
        (len(point), n, kind) for n, (point, kind) in enumerate(mounts) if place.startswith(point.rstrip("/") + "/")
    ]
    return max(above)[2] if above else ""


def join(folder: str, *names: str) -> str:
    """The path of a name in a folder."""
    if not remote(folder):
        return os.path.join(folder, *names)
    return "/".join([folder.rstrip("/"), *names])


def name_of(path: str) -> str:
    """The last part of a path."""
    return os.path.basename(path.rstrip("/"))


def names(folder: str) -> List[str]:
    """The sorted names in a folder; names of folders end with "/". Empty if the folder does not exist."""
    if remote(folder):
        from stages.handover import cloud_storage

        return cloud_storage.names(folder)
    try:
        with os.scandir(folder) as entries:
            return sorted(entry.name + "/" * entry.is_dir() for entry in entries)
    except (FileNotFoundError, NotADirectoryError):
        return []


def files_below(folder: str) -> Dict[str, int]:
    """All files below a folder: path relative to it, with "/" between names → size in bytes, sorted."""
    if remote(folder):
        from stages.handover import cloud_storage

        return {name: stored.size for name, stored in cloud_storage.objects_below(folder).items()}
    found = {}
    for parent, _, inside in os.walk(folder):
        for path in (os.path.join(parent, name) for name in inside):
            if os.path.isfile(path):
                found[os.path.relpath(path, folder).replace(os.sep, "/")] = os.path.getsize(path)
    return dict(sorted(found.items()))


def exists(path: str) -> bool:
    """Whether a file exists."""
    if remote(path):
        from stages.handover import cloud_storage

        return cloud_storage.find(path) is not None
    return os.path.exists(path)


def is_folder(path: str) -> bool:
    """Whether a folder exists; in Cloud Storage, whether it has any object."""
    return bool(names(path)) if remote(path) else os.path.isdir(path)


def size(path: str) -> int:
    """The size of a file in bytes. FileNotFoundError if it does not exist."""
    if remote(path):
        from stages.handover import cloud_storage

        return cloud_storage.stat(path).size
    return os.path.getsize(path)


def make_folder(path: str) -> None:
    """Make a folder and its parents. Does nothing for Cloud Storage."""
    if not remote(path):
        os.makedirs(path, exist_ok=True)


def remove(path: str) -> None:
    """Remove a file, if it exists."""
    if remote(path):
        from stages.handover import cloud_storage

        cloud_storage.remove(path)
    else:
        with contextlib.suppress(FileNotFoundError):
            os.remove(path)


def remove_all(folder: str, names: Iterable[str]) -> None:
    """Remove the files of a folder that exist."""
    concurrently(remove, [join(folder, name) for name in names])


def concurrently(function: Callable[[Any], Any], paths: Sequence[Any]) -> List[Any]:
    """The results of ``function`` in the order of the paths, or pairs of paths; TRANSFERS at a time if any is at gs://."""
    if not any(remote(path) for pair in paths for path in (pair if isinstance(pair, tuple) else (pair,))):
        return [function(path) for path in paths]
    from concurrent.futures import ThreadPoolExecutor

    from stages.handover import cloud_storage

    try:
        with ThreadPoolExecutor(TRANSFERS) as pool:
            try:
                return list(pool.map(function, paths))
            except BaseException:
                # The end of the pool waits for running transfers.
                cloud_storage.cancelled.set()
                raise
    finally:
        cloud_storage.cancelled.clear()


@contextlib.contextmanager
def reading(path: str) -> Iterator[IO[bytes]]:
    """A file as a stream of bytes. An object of Cloud Storage is read in one generation, and checked at its end."""
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

    It is written as ``.<name>.<random>.partial`` beside ``path``, synchronised, then renamed. So two processes can
    write the same file, as when a cluster repeats a task. If the body fails, nothing is left. Text modes are UTF-8 with
    plain newlines.
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
    """A local path with the bytes of a file: the file itself, or a temporary copy."""
    if not remote(path):
        yield path
        return
    with tempfile.TemporaryDirectory() as folder:
        yield fetch(path, os.path.join(folder, name_of(path)))


def fetch(path: str, local: str) -> str:
    """Copy a file to a local path, whole or not at all; returns that path."""
    with whole_file(local) as out, reading(path) as stream:
        shutil.copyfileobj(stream, out, 1 << 20)
    return local


def put_all(pairs: Sequence[Tuple[str, str]]) -> None:
    """``put`` for each pair of a local file and its path."""
    concurrently(lambda pair: put(*pair), pairs)


def fetch_all(folder: str, names: Iterable[str], local: str) -> None:
    """Copy files of a folder to a local folder, each whole or not at all."""
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
    """The entry of a file in a manifest: its size in bytes and its SHA-256."""
    return {"bytes": size(path), "sha256": sha256(path)}


def leads_out(name: str) -> bool:
    """Whether a name is not that of a file below its folder: ``../x``, ``/x``, ``a//b``."""
    return any(part in ("", ".", "..") or "\\" in part or "\0" in part for part in name.split("/"))


def link_leads_out(folder: str, name: str) -> bool:
    """Whether a file of a local folder is a link to a path outside the folder."""
    top = os.path.realpath(folder)
    return os.path.commonpath([top, os.path.realpath(os.path.join(top, name))]) != top
