"""An http(s) address → a complete file in the downloads folder; a folder's address → the names in it.

A file is stored at `<downloads>/<host>/<path>` and not fetched again. Until it is complete its name is
`.<name>.partial`, and a file beside it records length and version. An interrupted download resumes if the server
still has the same version.
"""

import concurrent.futures
import contextlib
import fcntl
import hashlib
import html.parser
import http.client
import os
import re
import shutil
import ssl
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from typing import IO, Any, TypeVar
from urllib.parse import unquote, urljoin, urlsplit

from stages.command.progress import Progress
from stages.command.refusal import Refusal, Retryable, unwritable
from stages.corpus.sources import Settings
from stages.handover import storage
from stages.handover.manifests import VERSION, read_json, write_json
from stages.handover.storage import PARTIAL

T = TypeVar("T")

USER_AGENT = f"albert-ja-corpus/{VERSION} (builds a text corpus from CirrusSearch dumps; Python urllib)"

_BLOCK = 1 << 18
_LONGEST_LISTING = 1 << 24
# In bytes: several times the largest dump of a Wikipedia.
_LONGEST_FILE = 1 << 38
_LONGEST_WAIT = 60.0
# In bytes a second. A server that is slower over `Settings.timeout` counts as silent.
_SLOWEST = 1 << 10
# Answers to try again: timeout, no such part (the next try requests the whole file), too early, too many requests,
# server errors.
_NO_SUCH_PART = http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE
_TRANSIENT = {408, _NO_SUCH_PART, 425, 429, 500, 502, 503, 504}
_RANGE = re.compile(r"bytes (\d+)-\d+/(\d+)")


class _Transient(Exception):
    """A failure that a new try may not have. `wait`: the seconds that the server requests."""

    def __init__(self, message: str, status: int | None = None, wait: float = 0.0) -> None:
        super().__init__(message)
        self.status, self.wait = status, wait


def listing(address: str, settings: Settings) -> list[str]:
    """The names linked from a folder's index page (its address ends in "/"). Names of folders end in "/"."""

    def attempt() -> bytes:
        page = bytearray()
        with _open(address, settings) as response:
            for block in _body(response, settings):
                page += block
                if len(page) > _LONGEST_LISTING:
                    limit = f"{_LONGEST_LISTING >> 20} MiB, too long for an index page"
                    raise Refusal(f"{redact(address)} is longer than {limit}")
        return bytes(page)

    page = _Links()
    page.feed(_retry(attempt, address, settings).decode("utf-8", "replace"))
    base = urlsplit(address)
    names = set()
    for link in page.links:
        target = urlsplit(urljoin(address, link))
        below = unquote(target.path).removeprefix(unquote(base.path))
        if target.netloc == base.netloc and below != unquote(target.path) and re.fullmatch("[^/]+/?", below):
            names.add(below)
    return sorted(names)


def is_folder(address: str, settings: Settings) -> bool:
    """Whether the address is, or redirects to, one that ends in "/". False for a file that was downloaded."""
    if os.path.exists(local_path(address, settings)):
        return False

    def attempt() -> bool:
        with _open(address, settings) as response:
            return urlsplit(response.url).path.endswith("/")

    return _retry(attempt, address, settings)


def local_path(address: str, settings: Settings) -> str:
    """The local path for an address: host and path as folders, a hash of the query at the end of the name."""
    _check_user(address)
    parts = urlsplit(address)
    names = [parts.netloc, *(unquote(name) for name in parts.path.split("/") if name)]
    if len(names) == 1 or any(name in ("", ".", "..") or "/" in name or "\0" in name for name in names):
        raise Refusal(f"{redact(address)} names no file on a server")
    if parts.query:
        # A query may hold a signature, and the name is written to the manifest.
        names[-1] += "?" + hashlib.sha256(parts.query.encode()).hexdigest()[:16]
    return os.path.join(settings.folder, *names)


def redact(address: str) -> str:
    """The address for messages and logs: without user, password, and query, which may hold a signature."""
    parts = urlsplit(address)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}{'?…' if parts.query else ''}"


def _check_user(address: str) -> None:
    if "@" in urlsplit(address).netloc:
        raise Refusal(f"{redact(address)} has a user or password before its server; remove it, as none is used")


def fetch(address: str, settings: Settings) -> str:
    """Download a file, unless there is a local copy. Returns the path. Raises Refusal, Retryable."""
    path = local_path(address, settings)
    if os.path.exists(path):
        return path
    folder, name = os.path.split(path)
    try:
        os.makedirs(folder, exist_ok=True)
        with open(os.path.join(folder, f".{name}{PARTIAL}"), "ab") as partial:
            try:
                fcntl.flock(partial, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise Refusal(f"{path} is being downloaded by another process; wait for it")
            transfer = _Transfer(address, name, partial, settings)
            _retry(transfer.attempt, address, settings, lambda: transfer.best)
            os.fsync(partial.fileno())
            os.replace(partial.name, path)
            storage.remove(transfer.record)
    except OSError as error:
        raise unwritable(path, error)
    return path


class _Transfer:
    """The download of one file. `best`: the largest number of bytes so far."""

    def __init__(self, address: str, name: str, partial: IO[bytes], settings: Settings) -> None:
        self.address, self.partial, self.settings = address, partial, settings
        self.record = partial.name.removesuffix(PARTIAL) + ".json" + PARTIAL
        self.best = partial.tell()
        self.progress = Progress(f"corpus: download {name}", "MB")

    def attempt(self) -> None:
        """Request the missing part and append it. Returns when the file is complete."""
        size = self.partial.tell()
        record: Any = {}  # length and version when the download began
        with contextlib.suppress(Refusal):
            record = read_json(self.record)
        if not isinstance(record, dict):
            record = {}
        if size and record.get("bytes") == size:
            return
        headers = {}
        if size and record.get("version"):
            headers = {"Range": f"bytes={size}-", "If-Range": record["version"]}
        else:
            self._restart()
        try:
            response = _open(self.address, self.settings, headers)
        except _Transient as error:
            if error.status == _NO_SUCH_PART:
                self._restart()
            raise
        with response:
            total = self._begin(response)
            for block in _body(response, self.settings):
                self._refuse_too_long(self.partial.tell() + len(block))
                self.partial.write(block)
                self.best = max(self.best, self.partial.tell())
                self.progress.add(len(block) / 1e6)
        self.partial.flush()
        size = self.partial.tell()
        if total is not None and size != total:
            raise _Transient(f"the transfer ended at byte {size:,} of {total:,}")
        self.progress.close()

    def _begin(self, response: http.client.HTTPResponse) -> int | None:
        """Check the headers. Restart unless the answer continues the file. Returns the total length if known."""
        if response.headers.get_content_type() in ("text/html", "application/xhtml+xml"):
            raise Refusal(f"{redact(self.address)} is a web page, not a file of text or a dump; check the address")
        if response.status == http.client.PARTIAL_CONTENT:
            part = _RANGE.fullmatch(response.headers.get("Content-Range", ""))
            if not part or int(part[1]) != self.partial.tell():
                self._restart()
                raise _Transient("the server sent another part than requested")
            total: int | None = int(part[2])
        else:
            self._restart()
            total = response.length
            # A chunked body has an end mark, which http.client requires.
            if total is None and "chunked" not in response.headers.get("Transfer-Encoding", ""):
                raise Refusal(f"the server does not say how long {redact(self.address)} is; fetch it by other means")
            # The version of a file: a strong ETag, or the time of the last change.
            tag = response.headers.get("ETag", "")
            version = tag if tag and not tag.startswith("W/") else response.headers.get("Last-Modified")
            write_json(self.record, {"bytes": total, "version": version})
        done = self.partial.tell()
        if total is not None:
            self._refuse_too_long(total)
            missing, free = total - done, shutil.disk_usage(self.partial.name).free
            if missing > free:
                length = f"{redact(self.address)} has {missing / 1e6:,.0f} MB to fetch"
                room = f"{os.path.dirname(self.partial.name)} has room for {free / 1e6:,.0f}"
                raise Retryable(f"{length}, and {room}; make room, then the same command resumes")
        self.progress.total = total / 1e6 if total else None
        self.progress.done = done / 1e6
        return total

    def _refuse_too_long(self, length: int) -> None:
        if length > _LONGEST_FILE:
            self._restart()
            limit = f"{_LONGEST_FILE >> 30} GiB, which no dump is"
            raise Refusal(f"{redact(self.address)} is longer than {limit}; check the address")

    def _restart(self) -> None:
        self.partial.flush()
        self.partial.truncate(0)
        self.partial.seek(0)
        storage.remove(self.record)


def _open(address: str, settings: Settings, headers: dict[str, str] | None = None) -> http.client.HTTPResponse:
    """The answer to a request, through redirects and the proxies of the environment.

    A socket's timeout limits a single read, so a server could send a byte at a time for ever. Therefore a thread makes
    the request, and is abandoned after three times the timeout: redirects and names with several addresses take longer.
    """
    _check_user(address)
    limit = 3 * settings.timeout
    answer: concurrent.futures.Future[http.client.HTTPResponse] = concurrent.futures.Future()

    def send() -> None:
        try:
            fields = {"User-Agent": USER_AGENT, "Accept-Encoding": "identity", **(headers or {})}
            request = urllib.request.Request(address, headers=fields)
            answer.set_result(urllib.request.urlopen(request, timeout=settings.timeout))
        except BaseException as error:
            answer.set_exception(error)

    threading.Thread(target=send, daemon=True).start()
    if not concurrent.futures.wait([answer], limit).done:
        raise _Transient(f"no answer in {limit:.0f} s")
    try:
        return answer.result()
    except urllib.error.HTTPError as error:
        with error:
            message = f"the server answered {error.code} {error.reason}"
            if error.code in _TRANSIENT:
                wait = error.headers.get("Retry-After", "")
                raise _Transient(message, error.code, float(wait) if wait.isdigit() else 0.0)
            raise Refusal(f"{redact(address)}: {message}; check the address")
    except urllib.error.URLError as error:
        if isinstance(error.reason, ssl.SSLCertVerificationError):
            reason = f"the server's certificate is not trusted here ({error.reason.verify_message})"
            raise Refusal(f"{redact(address)}: {reason}")
        raise _Transient(f"no connection ({error.reason})")
    except (http.client.HTTPException, OSError) as error:
        raise _Transient(f"no answer ({_reason(error)})")
    except ValueError as error:
        raise Refusal(f"{redact(address)} is no address that can be fetched ({error})")


def _body(response: http.client.HTTPResponse, settings: Settings) -> Iterator[bytes]:
    """The blocks of an answer as they arrive, so that no bytes are lost when the connection breaks."""
    start, size = time.monotonic(), 0
    while True:
        try:
            block = response.read1(_BLOCK)
        except (http.client.HTTPException, OSError) as error:
            raise _Transient(f"the connection broke ({_reason(error)})")
        if not block:
            return
        yield block
        size += len(block)
        now = time.monotonic()
        if now - start > settings.timeout:
            if size < _SLOWEST * settings.timeout:
                raise _Transient(f"only {size:,} bytes in {now - start:.0f} s")
            start, size = now, 0


def _reason(error: Exception) -> str:
    return str(error) or type(error).__name__


def _retry(attempt: Callable[[], T], address: str, settings: Settings, position: Callable[[], int] = lambda: 0) -> T:
    """The result of `attempt`, tried again after 1, 2, 4 … 60 seconds. Progress of `position` resets the count."""
    failures, previous = 0, position()
    while True:
        try:
            return attempt()
        except _Transient as error:
            failures = 1 if position() - previous >= _SLOWEST * settings.timeout else failures + 1
            previous = position()
            if failures > settings.retries:
                tries = f"{error}, after {failures} tries"
                raise Refusal(f"{redact(address)}: {tries}; run the same command again to resume")
            wait = min(max(2.0 ** (failures - 1), error.wait), _LONGEST_WAIT)
            print(f"corpus: {redact(address)}: {error}; trying again in {wait:.0f} s", file=sys.stderr, flush=True)
            time.sleep(wait)


class _Links(html.parser.HTMLParser):
    """Collects the targets of all links of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.links += [value for name, value in attrs if tag == "a" and name == "href" and value]
