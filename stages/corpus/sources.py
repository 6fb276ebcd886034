"""The values of `--dump` (files, folders, addresses, `latest`) → local files in the order to read them.

Wikimedia's newer dumps are at `<date>/index_name=<wiki>_content/<wiki>_content-<date>-<NNNNN>.json.bz2`. A complete
dump has an empty file `_SUCCESS`. `--dump` takes every folder on that path, local or on a server.
"""

import os
import re
from collections.abc import Callable, Iterable
from typing import NamedTuple
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


class Settings(NamedTuple):
    """The folder of downloads, the failures in a row without progress, and the limit of silence in seconds."""

    folder: str
    retries: int = 6
    timeout: float = 60.0


class Source(NamedTuple):
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
    try:
        shards = dump_shards(storage.join(folder, ""), storage.names)
        if shards is not None:
            return [Source(path, storage.name_of(path)) for path in shards]
        paths = storage.files_below(folder) if storage.remote(folder) else _local_files(folder)
    except OSError as error:
        raise Refusal(f"cannot read {error.filename}: {error.strerror}")
    names = sorted(path for path in paths if all(map(_visible, path.split("/"))))
    if not names:
        raise Refusal(f"{folder} holds no files to read")
    return [Source(storage.join(folder, name), name) for name in names]


def _local_files(folder: str) -> list[str]:
    """The paths of all files in and below a folder, relative to it. OSError for a folder that cannot be read."""

    def fail(error: OSError) -> None:
        raise error

    walk = os.walk(folder, onerror=fail)
    return [os.path.relpath(os.path.join(path, name), folder) for path, _, names in walk for name in names]


def _visible(name: str) -> bool:
    return not name.startswith((".", "_")) and not name.endswith(PARTIAL)


def _download(address: str, downloads: Settings) -> list[Source]:
    from stages.corpus import download  # takes 30 ms, and only addresses need it

    def fetch(address: str) -> Source:
        path = download.fetch(address, downloads)
        return Source(path, os.path.basename(path))

    if not urlsplit(address).path.endswith("/") and not download.is_folder(address, downloads):
        return [fetch(address)]
    shards = dump_shards(address.rstrip("/") + "/", lambda folder: download.listing(folder, downloads))
    if shards is None:
        raise Refusal(
            f"{download.redact(address)} holds no numbered shards of a dump; name one file, or a folder that holds them"
        )
    sources = [fetch(shard) for shard in shards]
    # With _SUCCESS the local copy is a complete dump, which can be read without the server.
    fetch(shards[0].rpartition("/")[0] + "/" + SUCCESS)
    return sources


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
        indexes = [_join(folder, date) + INDEX for date in dates if INDEX in listing(_join(folder, date))]
        newest = next((index for index in indexes if SUCCESS in listing(index)), None)
        if indexes and not newest:
            raise Refusal(f"{folder} holds no complete dump: no {INDEX} there has {SUCCESS}; try again later")
        return dump_shards(newest, listing) if newest else None
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


def _join(folder: str, name: str) -> str:
    return folder + (quote(name, safe="/=") if _ADDRESS.match(folder) else name)
