"""Files, streams and listings of local paths and of gs://bucket/prefix, by the same functions.

A stage does not know where its folders are. A file in Cloud Storage is read as a stream, and written to the temporary
folder (TMPDIR) before it is uploaded. Google's client is loaded only for gs://. Python 3.7 or later.
"""

import contextlib
import errno
import hashlib
import importlib
import io
import os
import shutil
import tempfile
from typing import IO, TYPE_CHECKING, Any, Callable, Dict, Iterable, Iterator, List, Sequence, Tuple

from stages.command.folders import remote as remote
from stages.command.refusal import NO_ROOM, UNREACHED, unwritable

if TYPE_CHECKING:
    from stages.handover import cloud_storage as cloud_storage
else:

    class _LoadedWhenUsed:
        """Google's client takes a second to load, which a run on this machine does not wait for."""

        def __getattr__(self, name):
            return getattr(importlib.import_module("stages.handover.cloud_storage"), name)

    cloud_storage = _LoadedWhenUsed()

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
    if remote(folder):
        return True
    place, nearest = os.path.realpath(folder) + "/", (0, 0, "")
    with contextlib.suppress(OSError), open("/proc/self/mounts", encoding="utf-8", errors="replace") as stream:
        for number, line in enumerate(stream):
            point, system = line.split()[1:3]
            if place.startswith(point.rstrip("/") + "/"):
                # The later one of two mounts at the same point.
                nearest = max(nearest, (len(point), number, system))
    return nearest[2] in BUCKET_MOUNTS


def join(folder: str, *names: str) -> str:
    """The path of a name in a folder."""
    return "/".join([folder.rstrip("/"), *names]) if remote(folder) else os.path.join(folder, *names)


def name_of(path: str) -> str:
    """The last part of a path."""
    return os.path.basename(path.rstrip("/"))


def names(folder: str) -> List[str]:
    """The sorted names in a folder; names of folders end with "/". Empty if the folder does not exist."""
    if remote(folder):
        return cloud_storage.names(folder)
    try:
        with os.scandir(folder) as entries:
            return sorted(entry.name + "/" * entry.is_dir() for entry in entries)
    except (FileNotFoundError, NotADirectoryError):
        return []


def files_below(folder: str) -> Dict[str, int]:
    """All files below a folder: path relative to it, with "/" between names → size in bytes, sorted."""
    if remote(folder):
        return {name: stored.size for name, stored in cloud_storage.objects_below(folder).items()}
    paths = sorted(os.path.join(parent, name) for parent, _, names in os.walk(folder) for name in names)
    return {os.path.relpath(path, folder): os.path.getsize(path) for path in paths if os.path.isfile(path)}


def exists(path: str) -> bool:
    """Whether a file exists."""
    return cloud_storage.find(path) is not None if remote(path) else os.path.exists(path)


def is_folder(path: str) -> bool:
    """Whether a folder exists; in Cloud Storage, whether it has any object."""
    return bool(names(path)) if remote(path) else os.path.isdir(path)


def size(path: str) -> int:
    """The size of a file in bytes. FileNotFoundError if it does not exist."""
    return cloud_storage.stat(path).size if remote(path) else os.path.getsize(path)


def make_folder(path: str) -> None:
    """Make a folder and its parents. Does nothing for Cloud Storage."""
    if not remote(path):
        os.makedirs(path, exist_ok=True)


def remove(path: str) -> None:
    """Remove a file, if it exists."""
    if remote(path):
        cloud_storage.remove(path)
    else:
        with contextlib.suppress(FileNotFoundError):
            os.remove(path)


def remove_all(folder: str, names: Iterable[str]) -> None:
    """Remove the files of a folder that exist."""
    concurrently(remove, [join(folder, name) for name in names])


def concurrently(function: Callable[[Any], Any], items: Sequence[Any]) -> List[Any]:
    """The results of ``function`` in the order of the items; TRANSFERS at a time if a path among them is at gs://.

    An item is a path, or a tuple with paths.
    """
    values = (value for item in items for value in ((item,) if isinstance(item, str) else item))
    if not any(isinstance(value, str) and remote(value) for value in values):
        return list(map(function, items))
    from concurrent.futures import ThreadPoolExecutor

    try:
        with ThreadPoolExecutor(TRANSFERS) as pool:
            try:
                return list(pool.map(function, items))
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
    if remote(path):
        with tempfile.TemporaryDirectory() as folder:
            yield fetch(path, os.path.join(folder, name_of(path)))
    else:
        yield path


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


def nearest_folder(path: str) -> str:
    """The absolute path of a local folder, or of its nearest parent that exists."""
    path = os.path.abspath(path)
    while not os.path.exists(path):
        path = os.path.dirname(path)
    return path


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
