"""gs://bucket/object → its bytes, checked; local files → objects, each whole and once.

Credentials are the application default ones, or none if STORAGE_EMULATOR_HOST names an emulator. Failures that may
pass (408, 429, 5xx, broken connections) are tried again with growing pauses, for PATIENCE seconds or those of the
variable STORAGE_PATIENCE. Every write has a precondition: repeated after a lost reply, it changes nothing.
"""

import base64
import contextlib
import errno
import functools
import io
import os
import sys
import threading
import time
from typing import Any, Callable, Dict, Iterator, List, NamedTuple, Optional, Tuple, TypeVar

import google.auth
import google.auth.credentials
import google.auth.exceptions
import google_crc32c
import requests
import urllib3
from google.api_core import exceptions
from google.cloud import storage
from google.cloud.storage.retry import DEFAULT_RETRY

from stages.command.refusal import Refusal, Retryable

try:
    from google.cloud.storage.exceptions import DataCorruption
except ImportError:  # The last client for Python 3.7 has it elsewhere.
    from google.resumable_media import DataCorruption

T = TypeVar("T")
Checksum: Any = google_crc32c.Checksum

PATIENCE = 300.0
ENDLESS = float("inf")
# One request of a stream: large enough that its round trip costs nothing, small enough for memory and for a retry.
PART = 1 << 23
# One request of an upload that takes several, with the same reasons; each thread holds one in memory.
CHUNK = 1 << 24
# Seconds without a good answer after which a line on standard error reports new tries.
SILENCE = 10.0
# Seconds to connect, seconds of silence.
TIMEOUT = (10.0, 60.0)
# The arguments of a request that ``_patiently`` repeats.
ONE_TRY: Dict[str, Any] = {"timeout": TIMEOUT, "retry": None}
# A connection that broke, or bytes that did: each layer has classes of its own.
_BROKEN = (
    requests.exceptions.ConnectionError,
    requests.exceptions.ChunkedEncodingError,
    requests.exceptions.Timeout,
    urllib3.exceptions.HTTPError,
    google.auth.exceptions.TransportError,
    ConnectionError,
    DataCorruption,
)


class Stored(NamedTuple):
    """The size in bytes, the CRC-32C (base 64) and the generation of an object."""

    size: int
    crc32c: str
    generation: int


class Cancelled(Exception):
    """The process ends before this transfer does."""


# Set while a process ends before its transfers do: they stop, and no request is repeated.
cancelled = threading.Event()


class _CancellableFile(io.FileIO):
    """A file to upload; a read raises Cancelled once transfers are cancelled."""

    def read(self, size: int = -1) -> bytes:  # type: ignore[override]
        if cancelled.is_set():
            raise Cancelled
        return super().read(size) or b""


def address(path: str) -> Tuple[str, str]:
    """The bucket and the name of an object, or of a prefix without its last "/". Refusal for another address."""
    bucket, _, name = path[len("gs://") :].partition("/")
    name = name.rstrip("/")
    if not bucket or "//" in name:
        raise Refusal("%s is no address in Cloud Storage; it is gs://bucket/folder" % path)
    return bucket, name


def names(folder: str) -> List[str]:
    """The sorted names directly in a folder, those of folders with "/" behind them."""
    objects, folders = _list(folder, delimiter="/")
    return sorted(filter(None, [*objects, *folders]))


def objects_below(folder: str) -> Dict[str, Stored]:
    """The objects of a folder and of those below it, by their names within it, sorted."""
    objects, _ = _list(folder)
    # Programs that show folders leave empty objects with "/" behind their names.
    return {name: objects[name] for name in sorted(objects) if name and not name.endswith("/")}


def _list(folder: str, **more: str) -> Tuple[Dict[str, Stored], List[str]]:
    """The objects whose names begin with that of a folder, and, with a delimiter, the folders in it."""
    bucket, name = address(folder)
    prefix = name + "/" if name else ""

    def ask() -> Tuple[Dict[str, Stored], List[str]]:
        pages = _client().list_blobs(bucket, prefix=prefix, **more, **ONE_TRY)
        objects = {blob.name[len(prefix) :]: _stored(blob) for blob in pages}
        return objects, [below[len(prefix) :] for below in pages.prefixes]

    return _patiently(folder, "list", ask)


def find(path: str) -> Optional[Stored]:
    """The size, checksum and generation of an object; None if it does not exist."""

    def ask() -> Optional[Stored]:
        blob = _blob(path)
        try:
            blob.reload(**ONE_TRY)
        except exceptions.NotFound:
            return None
        return _stored(blob)

    return _patiently(path, "read", ask)


def stat(path: str) -> Stored:
    """The size, checksum and generation of an object. FileNotFoundError if it does not exist."""
    stored = find(path)
    if stored is None:
        raise FileNotFoundError(errno.ENOENT, "there is no such object, or no such bucket", path)
    return stored


def remove(path: str, generation: Optional[int] = None, patience: float = ENDLESS) -> None:
    """Remove an object, if it exists (``generation``: and is still that one)."""

    def ask() -> None:
        with contextlib.suppress(exceptions.NotFound, exceptions.PreconditionFailed):
            _blob(path).delete(if_generation_match=generation, **ONE_TRY)

    _patiently(path, "remove", ask, patience)


class Reader(io.RawIOBase):
    """An object as a stream, part by part, of the generation that exists at the beginning.

    At its end, length and CRC-32C are compared with those of the object: a Retryable if they differ.
    """

    def __init__(self, path: str) -> None:
        self.stored = stat(path)
        self._parts = _parts(path, self.stored)
        self._part = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        if not self._part:
            self._part = memoryview(next(self._parts, b""))
        count = min(len(buffer), len(self._part))
        buffer[:count] = self._part[:count]
        self._part = self._part[count:]
        return count


def _parts(path: str, stored: Stored) -> Iterator[bytes]:
    def ask(start: int, size: int) -> bytes:
        data: bytes = _blob(path).download_as_bytes(
            start=start, end=start + size - 1, raw_download=True, checksum=None,
            if_generation_match=stored.generation, **ONE_TRY,
        )  # fmt: skip
        if len(data) != size:
            raise ConnectionError("%d bytes came of %d" % (len(data), size))
        return data

    digest = Checksum()
    for start in range(0, stored.size, PART):
        if cancelled.is_set():
            raise Cancelled
        try:
            data = _patiently(path, "read", functools.partial(ask, start, min(PART, stored.size - start)))
        except (exceptions.PreconditionFailed, exceptions.NotFound, exceptions.RequestRangeNotSatisfiable):
            raise Retryable("%s was replaced or removed while it was read; run again" % path)
        digest.update(data)
        yield data
    if _base64(digest) != stored.crc32c:
        raise Retryable("what came of %s has another CRC-32C than the bucket says; run again" % path)


def checksum(local: str) -> Tuple[int, str]:
    """Length and CRC-32C of a local file, as in ``Stored``."""
    digest = Checksum()
    with open(local, "rb") as stream:
        for block in iter(lambda: stream.read(1 << 20), b""):
            digest.update(block)
        return stream.tell(), _base64(digest)


def upload(local: str, path: str) -> bool:
    """Make an object of a local file, whole or not at all. False if it exists with these bytes, and is untouched.

    The precondition is the generation that was found (0: none). When a reply is lost, the next try fails by the object
    of the first one: the same bytes are ours. Other bytes are another writer's: a Retryable. An object that arrives
    damaged is removed and sent again.
    """
    ours = checksum(local)
    before = find(path)
    if before and before[:2] == ours:
        return False
    generation = before.generation if before else 0

    def arrived() -> bool:
        after = find(path)
        return after is not None and after[:2] == ours

    def unsent(error: Exception) -> bool:
        # The service may not know a finished session when it is asked again.
        return _is_transient(error) and not isinstance(error, DataCorruption) and not arrived()

    def ask() -> None:
        nonlocal generation
        blob = _blob(path, chunk_size=CHUNK)
        try:
            # Small files in one request, others in a session, which resumes after a failure.
            with _CancellableFile(local) as source:
                blob.upload_from_file(
                    source, size=ours[0], checksum="crc32c", if_generation_match=generation, timeout=TIMEOUT,
                    retry=_retry().with_predicate(unsent), content_type="application/octet-stream",
                )  # fmt: skip
            damaged = None if _stored(blob)[:2] == ours else int(blob.generation)
        except DataCorruption as error:
            damaged = int(error.response.json()["generation"])
        except exceptions.NotFound:
            # The bucket or the session.
            names(path)
            raise ConnectionError("the session is gone")
        except (exceptions.RetryError, *_BROKEN) as error:
            if not arrived():
                raise getattr(error, "cause", None) or error
            return
        if damaged is not None:
            remove(path, damaged)
            generation = 0
            raise ConnectionError("it arrived damaged")

    with contextlib.suppress(exceptions.PreconditionFailed):
        _patiently(path, "write", ask)
    if not arrived():
        raise Retryable("%s holds other bytes than were written: another process writes there; wait for its end" % path)
    return True


def create(path: str, data: bytes, generation: int, patience: float = ENDLESS) -> Optional[int]:
    """Make a small object in place of a generation (0: of none). Its generation; None if there is another object.

    No other process may write the same data: after a lost reply it identifies the writer.
    """

    def ask() -> int:
        blob = _blob(path)
        blob.upload_from_string(data, if_generation_match=generation, **ONE_TRY)
        return int(blob.generation)

    try:
        return _patiently(path, "write", ask, patience)
    except exceptions.PreconditionFailed:
        there = find(path)
        ours = there is not None and there[:2] == (len(data), _base64(Checksum(data)))
        return there.generation if there and ours else None


def _blob(path: str, **more: Any) -> Any:
    bucket, name = address(path)
    return _client().bucket(bucket).blob(name, **more)


def _stored(blob: Any) -> Stored:
    return Stored(int(blob.size), str(blob.crc32c), int(blob.generation))


def _base64(checksum: Any) -> str:
    return base64.b64encode(checksum.digest()).decode()


def _patience() -> float:
    try:
        return float(os.environ.get("STORAGE_PATIENCE") or PATIENCE)
    except ValueError:
        raise Refusal("STORAGE_PATIENCE=%s is no number of seconds" % os.environ["STORAGE_PATIENCE"])


def _client() -> Any:
    """One client for each process: connections do not outlive a fork."""
    return _client_of(os.getpid())


@functools.lru_cache(maxsize=1)
def _client_of(process: int) -> Any:
    # Or the client asks for the bucket's own metadata, in a thread of its own, to name it in traces.
    os.environ.setdefault("DISABLE_GCS_PYTHON_CLIENT_OTEL_BUCKET_METADATA", "true")
    emulator = os.environ.get("STORAGE_EMULATOR_HOST")
    if emulator:
        endpoint = emulator if "://" in emulator else "http://" + emulator
        return storage.Client(
            project="emulator",
            credentials=google.auth.credentials.AnonymousCredentials(),  # type: ignore[no-untyped-call]
            client_options={"api_endpoint": endpoint},
        )
    try:
        credentials, project = google.auth.default(scopes=["https://www.googleapis.com/auth/devstorage.read_write"])
    except google.auth.exceptions.DefaultCredentialsError:
        raise Refusal(
            "there are no credentials for gs://; run `gcloud auth application-default login`, or name a service "
            "account's key file in GOOGLE_APPLICATION_CREDENTIALS"
        )
    # No request of ours is about a project.
    return storage.Client(project=project or "none", credentials=credentials)


def _patiently(path: str, doing: str, ask: Callable[[], T], patience: float = ENDLESS) -> T:
    """The result of a request, tried again for `patience` seconds. Errors that stay are refusals.

    The caller handles 404 and 412, unless they are about the bucket.
    """
    bucket, _ = address(path)
    start, reported = time.monotonic(), False

    def report(error: Exception) -> None:
        nonlocal reported
        if not reported and time.monotonic() - start > SILENCE:
            reported = True
            tries = "trying again for %d s in all" % _patience()
            print("cannot %s %s yet: %s; %s" % (doing, path, _reason(error), tries), file=sys.stderr)

    try:
        answer: T = _retry(patience)(ask, on_error=report)()
        return answer
    except exceptions.NotFound as error:
        if doing in ("list", "write"):
            raise Refusal("there is no bucket gs://%s; make it, or correct its name" % bucket)
        raise error
    except (exceptions.PreconditionFailed, exceptions.RequestRangeNotSatisfiable):
        raise
    except (exceptions.Unauthorized, exceptions.Forbidden):
        remedy = "give the account the role Storage Object User on gs://%s, or take other credentials" % bucket
        raise Refusal("%s is refused: these credentials have no right to %s there; %s" % (path, doing, remedy))
    except google.auth.exceptions.GoogleAuthError as error:
        name, remedy = type(error).__name__, "run `gcloud auth application-default login`"
        raise Refusal("the credentials for gs:// do not work (%s); %s" % (name, remedy))
    except exceptions.BadRequest:
        remedy = "correct the name of the bucket or the object"
        raise Refusal("Cloud Storage refuses to %s %s (400); %s" % (doing, path, remedy))
    except (exceptions.GoogleAPIError, *_BROKEN) as error:
        raise Retryable("cannot %s %s: %s; the same command resumes" % (doing, path, _reason(error)))


def _reason(error: Exception) -> str:
    """An error in words: its status code or class, without addresses and the content of the request."""
    cause = getattr(error, "cause", None) or error
    code = getattr(cause, "code", None)
    name = str(int(code)) if isinstance(code, int) else type(cause).__name__
    return "Cloud Storage does not answer as it should (%s)" % name


def _is_transient(error: Exception) -> bool:
    """Whether another try may succeed."""
    known: bool = DEFAULT_RETRY._predicate(error)
    return (known or isinstance(error, (*_BROKEN, exceptions.TooManyRequests))) and not cancelled.is_set()


def _retry(patience: float = ENDLESS) -> Any:
    """Growing pauses, of half a second at first, up to 30 seconds, until patience (in seconds) is at its end."""
    retry = DEFAULT_RETRY.with_predicate(_is_transient).with_delay(initial=0.5, maximum=30.0, multiplier=2.0)
    # The last client for Python 3.7 knows the older name only.
    return getattr(retry, "with_timeout", retry.with_deadline)(min(patience, _patience()))
