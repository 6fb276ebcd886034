"""Folders of a run on this machine ↔ the same folders at gs://bucket/prefix.

`make upload` and `make download` run `python -m stages.handover.transfer --copy FROM TO …`. A file that exists with the
same length and CRC-32C is not copied again, so the same command resumes. Manifests are copied last: a folder with a
manifest is complete.
"""

import argparse
import os
import shutil
import sys
import threading
from typing import Any, NamedTuple

from stages.command.options import HelpFormatter
from stages.command.progress import Progress
from stages.command.refusal import Refusal, Retryable
from stages.command.running import run
from stages.handover import cloud_storage, lock, manifests, storage
from stages.handover.manifests import MANIFEST, RUN
from stages.handover.storage import PARTIAL


class Copy(NamedTuple):
    """A file to copy."""

    source: str
    target: str
    bytes: int


def main(arguments: list[str]) -> None:
    """Compare the folders, then copy the files that are missing or differ."""
    parser = argparse.ArgumentParser("transfer", description=__doc__, formatter_class=HelpFormatter)
    folders = "a folder and its destination; one of the two is gs://…, the same one for each --copy"
    parser.add_argument("--copy", nargs=2, action="append", required=True, metavar=("FROM", "TO"), help=folders)
    parser.add_argument("--dry-run", action="store_true", help="print what would be copied, and copy nothing")
    given = parser.parse_args(arguments)
    ways = {(storage.remote(source), storage.remote(target)) for source, target in given.copy}
    if ways not in ({(False, True)}, {(True, False)}):
        parser.error("--copy takes a folder of this machine and one at gs://…, in the same order each time")
    name = "upload" if ways == {(False, True)} else "download"
    pairs = [(source, target) for source, target in given.copy if storage.is_folder(source)]
    if not pairs:
        raise Refusal(f"there is nothing to copy in {', '.join(source for source, _ in given.copy)}")
    copies: list[Copy] = []
    written: set[str] = set()
    same = 0
    for source, target in pairs:
        missing, present, runs = compare(source, target)
        copies += missing
        same += present
        written.update(runs if missing else ())
    amount = f"{len(copies):,} files, {sum(copy.bytes for copy in copies) / 1e6:,.1f} MB"
    already = f"{same:,} files are there already"
    if given.dry_run:
        for copy in copies:
            print(f"{copy.bytes:>15,}  {copy.source} → {copy.target}")
        print(f"{name}: would copy {amount}; {already}", file=sys.stderr)
        return
    refuse_without_room(copies)
    try:
        for folder in written:
            storage.make_folder(folder)
            lock.hold(folder)
        if copies:
            transfer(name, copies)
    except OSError as error:
        raise Refusal(f"cannot copy {error.filename}: {error.strerror}")
    print(f"{name}: copied {amount}; {already}", file=sys.stderr)


def compare(source: str, target: str) -> tuple[list[Copy], int, list[str]]:
    """The files to copy from one folder to another, the number of those there already, and the folders of runs there.

    `Refusal` if the target has a folder of another run.
    """
    upload = storage.remote(target)
    objects = cloud_storage.objects_below(target if upload else source)
    local = source if upload else target
    here = storage.files_below(local)
    for name in here:
        if storage.link_leads_out(local, name):
            link = os.path.join(local, name)
            raise Refusal(f"{link} is a link that leads out of {local}; put the file itself there, or remove it")
    sizes = here if upload else {name: stored.size for name, stored in objects.items()}
    copies, same, runs = [], 0, set()
    for name, size in sizes.items():
        if storage.leads_out(name):
            raise Refusal(f"{source} names a file outside of its folder: {name!r}; make it again where it was made")
        folder, base = os.path.split(name)
        if base == lock.NAME or name.endswith(PARTIAL):
            continue
        if base in (MANIFEST, RUN):
            runs.add(folder)
        stored = objects.get(name)
        path = os.path.join(local, name)
        if stored and here.get(name) == stored.size and cloud_storage.checksum(path) == stored[:2]:
            same += 1
        else:
            copies.append(Copy(storage.join(source, name), storage.join(target, name), size))
    targets = []
    for folder in sorted(runs):
        ours, theirs = (storage.join(top, folder) if folder else top for top in (source, target))
        refuse_another(ours, theirs)
        targets.append(theirs)
    return copies, same, targets


def refuse_another(source: str, target: str) -> None:
    """`Refusal` if the target has another run than the source."""
    ours, theirs = identity(source), identity(target)
    differing = [key for key in ours if theirs and ours[key] != theirs[key]]
    if differing:
        remedy = "name another place, or remove it"
        raise Refusal(f"{target} comes from another run than {source} (its {differing[0]} differ); {remedy}")


def identity(folder: str) -> dict[str, Any]:
    """The fields that identify the run in a folder; empty without a run."""
    present = storage.names(folder)
    runs = (manifests.identity(storage.join(folder, name)) for name in (MANIFEST, RUN) if name in present)
    return next(filter(None, runs), {})


def refuse_without_room(copies: list[Copy]) -> None:
    """`Retryable` if a download does not fit on the disk."""
    if copies and not storage.remote(copies[0].target):
        folder = storage.nearest_folder(copies[0].target)
        total, free = sum(copy.bytes for copy in copies), shutil.disk_usage(folder).free
        if total > free:
            room = f"{folder} has room for {free / 1e6:,.0f}; make room, then the same command resumes"
            raise Retryable(f"the files have {total / 1e6:,.0f} MB, and {room}")


def transfer(name: str, copies: list[Copy]) -> None:
    """Copy all files, several at a time; manifests last."""
    progress = Progress(name, "MB", sum(copy.bytes for copy in copies) / 1e6)
    printing = threading.Lock()

    def carry(copy: Copy) -> None:
        if storage.remote(copy.target):
            cloud_storage.upload(copy.source, copy.target)
        else:
            storage.make_folder(os.path.dirname(copy.target))
            try:
                storage.fetch(copy.source, copy.target)
            except FileNotFoundError:
                remedy = "the same command copies the present files"
                raise Retryable(f"{copy.source} was removed before it was copied; {remedy}")
        with printing:
            progress.add(copy.bytes / 1e6)

    for last in (False, True):
        storage.concurrently(carry, [copy for copy in copies if (os.path.basename(copy.source) == MANIFEST) is last])
    progress.close(f"{len(copies):,} files")


if __name__ == "__main__":
    sys.exit(run("transfer", main))
