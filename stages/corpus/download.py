"""An http(s) address → a file in the downloads folder, whole or not at all; a folder's address → the names in it.

A file lies at `<downloads>/<host>/<path>` and is not fetched again. Until it is whole it is `.<name>.partial`,
with what the server said of it (length, version) beside it, so that an interrupted download resumes where
it stopped, if the server still has the same version.
"""

import email.message
import fcntl
import hashlib
import html.parser
import http.client
import json
import os
import queue
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
from stages.handover.manifests import VERSION, write_json
from stages.handover.storage import PARTIAL

T = TypeVar("T")

USER_AGENT = f"albert-ja-corpus/{VERSION} (builds a text corpus from CirrusSearch dumps; Python urllib)"

_BLOCK = 1 << 18
_LONGEST_LISTING = 1 << 24
# Several times the largest dump of a Wikipedia.
_LONGEST_FILE = 1 << 38
_LONGEST_WAIT = 60.0
# In bytes a second. A server that sends less over the time of `Settings.timeout` counts as silent.
_SLOWEST = 1 << 10
# Answers that may be different next time: timeout, no such part (the next try asks for the whole), too early,
# too many requests, server errors.
_NO_SUCH_PART = http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE
_PASSING = {408, _NO_SUCH_PART, 425, 429, 500, 502, 503, 504}
_RANGE = re.compile(r"bytes (\d+)-\d+/(\d+)")


class _Passing(Exception):
    """A failure that may be gone at the next try; `wait` is what the server asks for, in seconds."""

    def __init__(self, what: str, status: int | None = None, wait: float = 0.0) -> None:
        super().__init__(what)
        self.status, self.wait = status, wait


def listing(address: str, settings: Settings) -> list[str]:
    """The names linked from the index page of a folder (address ending in "/"); those of folders end in "/"."""

    def attempt() -> bytes:
        with _open(address, settings) as response:
            page = bytearray()
            for block in _body(response, settings):
                page += block
                if len(page) > _LONGEST_LISTING:
                    raise Refusal(
                        f"{shown(address)} is longer than {_LONGEST_LISTING >> 20} MiB, which no index page is"
                    )
            return bytes(page)

    page = _Links()
    page.feed(_patiently(attempt, address, settings).decode("utf-8", "replace"))
    base = urlsplit(address)
    names = set()
    for link in page.links:
        target = urlsplit(urljoin(address, link))
        below = unquote(target.path).removeprefix(unquote(base.path))
        if target.netloc == base.netloc and below != unquote(target.path) and re.fullmatch("[^/]+/?", below):
            names.add(below)
    return sorted(names)


def is_folder(address: str, settings: Settings) -> bool:
    """Whether the server answers with the same address and "/" behind it. A file that is here is none."""
    if os.path.exists(local_path(address, settings)):
        return False

    def attempt() -> bool:
        with _open(address, settings) as response:
            return urlsplit(response.url).path.endswith("/")

    return _patiently(attempt, address, settings)


def local_path(address: str, settings: Settings) -> str:
    """Where the file of an address lies: host and path as folders, a query behind the name."""
    parts = urlsplit(address)
    host = parts.netloc.rpartition("@")[2]
    names = [unquote(name) for name in parts.path.split("/") if name]
    _without_user(address)
    if not names or any(name in ("", ".", "..") or "/" in name or "\0" in name for name in [host, *names]):
        raise Refusal(f"{shown(address)} names no file on a server")
    if parts.query:
        # It may hold a signature, and this name will be in the manifest.
        names[-1] += "?" + hashlib.sha256(parts.query.encode()).hexdigest()[:16]
    return os.path.join(settings.folder, host, *names)


def shown(address: str) -> str:
    """An address as people and logs may see it: without user, password and query, which may be a signature."""
    parts = urlsplit(address)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}{'?…' if parts.query else ''}"


def _without_user(address: str) -> None:
    if "@" in urlsplit(address).netloc:
        raise Refusal(f"{shown(address)} has a user or password before its server, which is not used; leave it out")


def fetch(address: str, settings: Settings) -> str:
    """The path of the local copy of a file, downloaded unless it is here already."""
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
            _patiently(transfer.attempt, address, settings, lambda: transfer.best)
            os.fsync(partial.fileno())
            os.replace(partial.name, path)
            transfer.forget()
    except OSError as error:
        raise unwritable(path, error)
    return path


class _Transfer:
    """One file on its way; `best` is the most bytes that it ever had."""

    def __init__(self, address: str, name: str, partial: IO[bytes], settings: Settings) -> None:
        self.address, self.name, self.partial, self.settings = address, name, partial, settings
        self.record = partial.name.removesuffix(PARTIAL) + ".json" + PARTIAL
        self.best = partial.tell()
        self.progress: Progress | None = None

    def attempt(self) -> None:
        """Ask for what is missing and append it. Returns when the file is whole."""
        have, known = self.partial.tell(), self._known()
        if have and known.get("bytes") == have:
            return
        headers = {}
        if have and known.get("version"):
            headers = {"Range": f"bytes={have}-", "If-Range": known["version"]}
        else:
            self._start_over()
        try:
            response = _open(self.address, self.settings, headers)
        except _Passing as passing:
            if passing.status == _NO_SUCH_PART:
                self._start_over()
            raise
        with response:
            total = self._begin(response)
            for block in _body(response, self.settings):
                if self.partial.tell() + len(block) > _LONGEST_FILE:
                    self._start_over()
                    raise self._too_long()
                self.partial.write(block)
                self.best = max(self.best, self.partial.tell())
                if self.progress:
                    self.progress.add(len(block) / 1e6)
        self.partial.flush()
        have = self.partial.tell()
        if total is not None and have != total:
            raise _Passing(f"the transfer ended at byte {have:,} of {total:,}")
        if self.progress:
            self.progress.close()

    def forget(self) -> None:
        if os.path.exists(self.record):
            os.remove(self.record)

    def _begin(self, response: http.client.HTTPResponse) -> int | None:
        """Read the headers: is it what was asked for, does it resume or begin again? Returns the whole length."""
        if response.headers.get_content_type() in ("text/html", "application/xhtml+xml"):
            raise Refusal(f"{shown(self.address)} is a web page, not a file of text or a dump; check the address")
        if response.status == http.client.PARTIAL_CONTENT:
            place = _RANGE.fullmatch(response.headers.get("Content-Range", ""))
            if not place or int(place[1]) != self.partial.tell():
                self._start_over()
                raise _Passing("the server sent another part than it was asked for")
            total: int | None = int(place[2])
        else:
            self._start_over()
            total = response.length
            # A chunked body has an end mark, which http.client insists on.
            if total is None and "chunked" not in response.headers.get("Transfer-Encoding", ""):
                raise Refusal(f"the server does not say how long {shown(self.address)} is; fetch it by other means")
            write_json(self.record, {"bytes": total, "version": _version(response.headers)})
        if total is not None:
            self._check_room(total)
        if self.progress is None:
            self.progress = Progress(f"corpus: download {self.name}", "MB", total / 1e6 if total else None)
        self.progress.done = self.partial.tell() / 1e6
        return total

    def _check_room(self, total: int) -> None:
        if total > _LONGEST_FILE:
            raise self._too_long()
        missing, free = total - self.partial.tell(), shutil.disk_usage(self.partial.name).free
        if missing > free:
            folder = os.path.dirname(self.partial.name)
            raise Retryable(
                f"{shown(self.address)} has {missing / 1e6:,.0f} MB to fetch, and {folder} has room for "
                f"{free / 1e6:,.0f}; make room, then the same command resumes"
            )

    def _too_long(self) -> Refusal:
        what = f"{shown(self.address)} is longer than {_LONGEST_FILE >> 30} GiB"
        return Refusal(f"{what}, which no dump is; check the address")

    def _known(self) -> dict[str, Any]:
        """What the server said when the download began; nothing where that is not known."""
        try:
            with open(self.record, encoding="utf-8") as stream:
                known = json.load(stream)
        except (OSError, ValueError):
            return {}
        return known if isinstance(known, dict) else {}

    def _start_over(self) -> None:
        self.partial.flush()
        self.partial.truncate(0)
        self.partial.seek(0)
        self.forget()


def _version(headers: email.message.Message) -> str | None:
    """What tells one version of a file from another: a strong ETag, or the time of the last change."""
    tag = headers.get("ETag", "")
    return tag if tag and not tag.startswith("W/") else headers.get("Last-Modified")


def _open(address: str, settings: Settings, headers: dict[str, str] | None = None) -> http.client.HTTPResponse:
    """The answer to a request, proxies of the environment and redirects included."""
    _without_user(address)
    fields = {"User-Agent": USER_AGENT, "Accept-Encoding": "identity", **(headers or {})}
    try:
        request = urllib.request.Request(address, headers=fields)
        return _answer(request, settings.timeout)
    except urllib.error.HTTPError as error:
        with error:
            if error.code in _PASSING:
                wait = error.headers.get("Retry-After", "")
                answer = f"the server answered {error.code} {error.reason}"
                raise _Passing(answer, error.code, float(wait) if wait.isdigit() else 0.0)
            raise Refusal(f"{shown(address)}: the server answered {error.code} {error.reason}; check the address")
    except urllib.error.URLError as error:
        if isinstance(error.reason, ssl.SSLCertVerificationError):
            raise Refusal(
                f"{shown(address)}: the server's certificate is not trusted here ({error.reason.verify_message})"
            )
        raise _Passing(f"no connection ({error.reason})")
    except (http.client.HTTPException, OSError) as error:
        raise _Passing(f"no answer ({_in_words(error)})")
    except ValueError as error:
        raise Refusal(f"{shown(address)} is no address that can be fetched ({error})")


def _answer(request: urllib.request.Request, timeout: float) -> http.client.HTTPResponse:
    """Status and headers. The limit of a socket is for each of its reads, so that a server could send a byte at a time
    for ever: a thread asks, and is left alone when it takes too long."""
    answers: queue.SimpleQueue[Any] = queue.SimpleQueue()

    def ask() -> None:
        try:
            answers.put(urllib.request.urlopen(request, timeout=timeout))
        except BaseException as error:
            answers.put(error)

    threading.Thread(target=ask, daemon=True).start()
    try:
        # An address may be redirected, and a name may have several addresses to try.
        answer = answers.get(timeout=3 * timeout)
    except queue.Empty:
        raise _Passing(f"no answer in {3 * timeout:.0f} s")
    if isinstance(answer, BaseException):
        raise answer
    response: http.client.HTTPResponse = answer
    return response


def _body(response: http.client.HTTPResponse, settings: Settings) -> Iterator[bytes]:
    """The blocks of an answer as they come, so that a connection that falls silent loses nothing."""
    since, come = time.monotonic(), 0
    while block := _received(response.read1, _BLOCK):
        yield block
        come += len(block)
        now = time.monotonic()
        if now - since > settings.timeout:
            if come < _SLOWEST * settings.timeout:
                raise _Passing(f"only {come:,} bytes in {now - since:.0f} s")
            since, come = now, 0


def _received(read: Callable[[int], bytes], size: int) -> bytes:
    try:
        return read(size)
    except (http.client.HTTPException, OSError) as error:
        raise _Passing(f"the connection broke ({_in_words(error)})")


def _in_words(error: Exception) -> str:
    return str(error) or type(error).__name__


def _patiently(attempt: Callable[[], T], address: str, settings: Settings, gained: Callable[[], int] = lambda: 0) -> T:
    """The result of `attempt`, tried again after 1, 2, 4 … 60 seconds; a gain of bytes starts the count anew."""
    failures, before = 0, gained()
    while True:
        try:
            return attempt()
        except _Passing as passing:
            failures = 1 if gained() - before >= _SLOWEST * settings.timeout else failures + 1
            before = gained()
            if failures > settings.retries:
                raise Refusal(
                    f"{shown(address)}: {passing}, after {failures} tries; run the same command again to resume"
                )
            wait = min(max(2.0 ** (failures - 1), passing.wait), _LONGEST_WAIT)
            print(f"corpus: {shown(address)}: {passing}; trying again in {wait:.0f} s", file=sys.stderr, flush=True)
            time.sleep(wait)


class _Links(html.parser.HTMLParser):
    """The targets of all links of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.links += [value for name, value in attrs if tag == "a" and name == "href" and value]
