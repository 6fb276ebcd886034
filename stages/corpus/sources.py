"""The values of `--dump` (files, folders, addresses, `latest`) → local files in the order to read them.

Wikimedia's newer dumps are at `<date>/index_name=<wiki>_content/<wiki>_content-<date>-<NNNNN>.json.bz2`. A complete
dump has an empty file `_SUCCESS`. `--dump` takes every folder on that path, local or on a server.
"""

import os
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from urllib.parse import quote, urlsplit

from stages.command.refusal import Refusal
from stages.handover import storage
from stages.handover.storage import PARTIAL

LATEST = "latest"
DUMPS = "/other/cirrus_search_index/"
INDEX = "index_name=jawiki_content/"
SUCCESS = "_SUCCESS"

_ADDRESS = re.compile(r"https?://", re.IGNORECASE)
_DATE = re.compile(r"\d{8}/")
_SHARD = re.compile(r"(?P<series>.+-\d{8})-(?P<number>\d{5})\.json(\.\w+)?")

# Folder → the names in it; those of folders end in "/".
Listing = Callable[[str], list[str]]


@dataclass(frozen=True)
class Settings:
    """The folder of downloads, the failures in a row without progress, and the limit of silence in seconds."""

    folder: str
    retries: int = 6
    timeout: float = 60.0


@dataclass(frozen=True)
class Source:
    """A local file, and its name in messages and the manifest."""

    path: str
    name: str


def find(dumps: Iterable[str], mirror: str, downloads: Settings) -> list[Source]:
    """The files of the values of `--dump`. Files at addresses are downloaded."""
    result: list[Source] = []
    for dump in dumps:
        if dump == LATEST:
            result += _download(mirror.rstrip("/") + DUMPS, downloads)
        elif _ADDRESS.match(dump):
            result += _download(dump, downloads)
        elif storage.is_folder(dump):
            result += _read_folder(dump)
        else:
            result.append(Source(dump, storage.name_of(dump)))
    return result


def _read_folder(folder: str) -> list[Source]:
    """The shards of a dump, or else all files in and below a folder, in the order of their paths.

    Paths with a name that begins with "." or "_" are left out.
    """
    shards = dump_shards(storage.join(folder, ""), _list)
    if shards is not None:
        return [Source(path, storage.name_of(path)) for path in shards]
    names = [name for name in _files_below(folder) if all(map(_visible, name.split("/")))]
    if not names:
        raise Refusal(f"{folder} holds no files to read")
    return [Source(storage.join(folder, name), name) for name in sorted(names)]


def _files_below(folder: str) -> Iterable[str]:
    """The paths of all files in and below a folder, relative to it."""
    if storage.remote(folder):
        yield from storage.files_below(folder)
        return
    for path, _, names in os.walk(folder, onerror=_refuse_unreadable):
        yield from (os.path.relpath(os.path.join(path, name), folder) for name in names)


def _download(address: str, downloads: Settings) -> list[Source]:
    from stages.corpus import download  # takes 30 ms, and only addresses need it

    if not urlsplit(address).path.endswith("/") and not download.is_folder(address, downloads):
        return [_fetch(address, downloads)]
    shards = dump_shards(address.rstrip("/") + "/", lambda folder: download.listing(folder, downloads))
    if shards is None:
        raise Refusal(
            f"{download.redact(address)} holds no numbered shards of a dump; name one file, or a folder that holds them"
        )
    sources = [_fetch(shard, downloads) for shard in shards]
    # With _SUCCESS the local copy is a complete dump, which can be read without the server.
    _fetch(shards[0].rpartition("/")[0] + "/" + SUCCESS, downloads)
    return sources


def _fetch(address: str, downloads: Settings) -> Source:
    from stages.corpus import download

    path = download.fetch(address, downloads)
    return Source(path, os.path.basename(path))


def dump_shards(folder: str, listing: Listing) -> list[str] | None:
    """The shards of a dump in the newer layout, in order, from any folder on its path (ending in "/").

    Of several dates the newest complete one counts. None for a folder of another layout. Raises Refusal for a dump
    without `_SUCCESS` or with a gap in its numbers.
    """
    names = listing(folder)
    indexes = [name for name in names if name.startswith("index_name=") and name.endswith("/")]
    if indexes:
        index = INDEX if INDEX in indexes else indexes[0]
        if index != INDEX and len(indexes) > 1:
            raise Refusal(f"{folder} holds {len(indexes)} indexes but not {INDEX}; name one of them")
        return dump_shards(_join(folder, index), listing)
    dates = sorted(filter(_DATE.fullmatch, names), reverse=True)
    if dates:
        return _newest_shards(folder, dates, listing)
    shards = sorted(filter(_SHARD.fullmatch, names))
    if not shards:
        if os.path.basename(folder.rstrip("/")).startswith("index_name"):
            raise Refusal(f"{folder} holds no shards; fetch them again")
        return None
    if SUCCESS not in names:
        raise Refusal(
            f"{folder} is not complete: it has no {SUCCESS}; fetch the rest and {SUCCESS}, or name each file to read"
        )
    series = _SHARD.sub(r"\g<series>", shards[0])
    for number, name in enumerate(shards):
        if not name.startswith(series + "-"):
            raise Refusal(f"{folder} holds shards of two dumps ({shards[0]}, {name}); keep one of them")
        if not name.startswith(f"{series}-{number:05d}."):
            raise Refusal(f"{folder} is not complete: there is no shard {number:05d} before {name}; fetch it again")
    return [_join(folder, name) for name in shards]


def _newest_shards(folder: str, dates: list[str], listing: Listing) -> list[str] | None:
    """The shards of the newest date with a complete index; None if no date has an index."""
    indexed = [date for date in dates if INDEX in listing(_join(folder, date))]
    for date in indexed:
        index = _join(folder, date) + INDEX
        if SUCCESS in listing(index):
            return dump_shards(index, listing)
    if indexed:
        raise Refusal(f"{folder} holds no complete dump: no {INDEX} there has {SUCCESS}; try again later")
    return None


def _join(folder: str, name: str) -> str:
    return folder + (quote(name, safe="/=") if _ADDRESS.match(folder) else name)


def _list(folder: str) -> list[str]:
    if storage.remote(folder):
        return storage.names(folder)
    try:
        with os.scandir(folder) as entries:
            return sorted(entry.name + "/" * entry.is_dir() for entry in entries)
    except OSError as error:
        raise Refusal(f"cannot read {folder}: {error.strerror}")


def _visible(name: str) -> bool:
    return not name.startswith((".", "_")) and not name.endswith(PARTIAL)


def _refuse_unreadable(error: OSError) -> None:
    raise Refusal(f"cannot read {error.filename}: {error.strerror}")
