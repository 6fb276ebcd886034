"""One fault, done to a command at a random place or moment → `Survived`, or `Broken` with the broken promise."""

import os
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from scripts.torture.flow import Command, Flow
from scripts.torture.runs import RETRYABLE, Broken, Run, compare, files, finish, kill, refused, run, stamps, wait_for

# Files that two workers may have in progress: a shard of tfrecords is a file for each of two models.
AT_WORK = 4
LARGE_DISK = 1 << 28


class Survived(NamedTuple):
    """The end of a fault, and the number of files that were compared with those of an undisturbed run."""

    how: str
    files: int


# A fault disturbs the command `name` of a flow in the empty folder `out`.
Fault = Callable[[Flow, str, Path, random.Random], Survived]


def main_killed(flow: Flow, name: str, out: Path, draw: random.Random) -> Survived:
    """kill -9 of the main process; its workers must end by themselves."""
    return _killed(flow, name, out, draw, lambda running: kill(running.process.pid))


def all_killed(flow: Flow, name: str, out: Path, draw: random.Random) -> Survived:
    """kill -9 of all processes together, as when a machine goes down."""
    return _killed(flow, name, out, draw, lambda running: os.killpg(running.process.pid, signal.SIGKILL))


def worker_killed(flow: Flow, name: str, out: Path, draw: random.Random) -> Survived:
    """kill -9 of one worker: the run continues by itself, or ends with exit code 75."""

    def strike(running: Run) -> None:
        wait_for(lambda: running.workers() or running.process.poll() is not None, "it has started no workers")
        time.sleep(draw.uniform(0, 0.3))
        kill(draw.choice(running.workers() or [running.process.pid]))

    return _killed(flow, name, out, draw, strike, allowed=(0, RETRYABLE))


def _killed(
    flow: Flow, name: str, out: Path, draw: random.Random, strike: Callable[[Run], None], allowed: tuple[int, ...] = ()
) -> Survived:
    command, clean = flow.commands[name], flow.clean(name)
    moment = draw.uniform(0, 0.9 * clean.seconds)
    while True:
        with Run(command.stage, command.line(out)) as running:
            time.sleep(moment)
            struck = running.process.poll() is None
            if struck:
                strike(running)
            ended = running.end()
        if struck and not (ended.code == 0 and 0 not in allowed):
            break
        # It ended before the kill: repeat it with an earlier one.
        shutil.rmtree(out)
        moment /= 2
    if ended.code not in (-signal.SIGKILL, *allowed):
        raise Broken(f"it ended with {ended.code}: {ended.said.strip()[-2000:]}")
    if "Traceback" in ended.said:
        raise Broken(f"it showed a traceback: {ended.said.strip()[-2000:]}")
    if ended.code == 0:
        return Survived("went on by itself", complete(flow, name, out))
    return _resumed(flow, name, out, draw)


def stopped(flow: Flow, name: str, out: Path, draw: random.Random) -> Survived:
    """SIGTERM or SIGINT, as at preemption or Ctrl-C: one line and an exit code of its own."""
    command, clean = flow.commands[name], flow.clean(name)
    signum = draw.choice([signal.SIGTERM, signal.SIGINT])
    with Run(command.stage, command.line(out)) as running:
        # Earlier, the process ends as any program does.
        wait_for(lambda: any(out.rglob("run.json")) or running.process.poll() is not None, "it has not begun")
        time.sleep(draw.uniform(0, 0.5 * clean.seconds))
        kill(running.process.pid, signum)
        ended = running.end()
    # At the very end of a process Python no longer handles signals.
    if ended.code == 0 or (ended.code == -signum and not any(out.rglob("run.json"))):
        return Survived("was done before", complete(flow, name, out))
    if ended.code != 128 + signum or "Traceback" in ended.said or "the same command resumes" not in ended.said:
        raise Broken(f"not exit code {128 + signum} and one line, but {ended.code}: {ended.said.strip()[-2000:]}")
    return _resumed(flow, name, out, draw)


def _resumed(flow: Flow, name: str, out: Path, draw: random.Random) -> Survived:
    """Run the same command, with a random number of workers, and compare."""
    command, clean = flow.commands[name], flow.clean(name)
    before = stamps(out) if out.exists() else {}
    if command.stage != "tpu-train":
        hashes = files(out) if out.exists() else {}
        partial = [file for file in before if hashes[file] != clean.files.get(file)]
        if partial:
            raise Broken(f"files with a final name are not whole: {', '.join(partial)}")
    finish(command.stage, command.line(out, draw.randint(1, 3)))
    after = stamps(out)
    again = [file for file in before if after.get(file) != before[file]]
    if command.stage == "tfrecords" and len(again) > AT_WORK:
        raise Broken(f"finished files were made a second time: {', '.join(again)}")
    return Survived("went on when run again", complete(flow, name, out))


def complete(flow: Flow, name: str, out: Path) -> int:
    """Compare with the undisturbed run. TensorFlow's files hold times: compare only their names."""
    if flow.commands[name].stage != "tpu-train":
        return compare(out, flow.clean(name).files, flow.clean(name).out)
    sides = files(out), flow.clean(name).files
    names, expected = ({file for file in side if "tfevents" not in file} for side in sides)
    if names != expected:
        raise Broken(f"{out} differs from an undisturbed run in {', '.join(sorted(names ^ expected))}")
    return len(names)


def disk_full(flow: Flow, name: str, out: Path, draw: random.Random) -> Survived:
    """A disk that is full at a random point: one line, exit code 75; with room, the same command resumes."""
    command, clean = flow.commands[name], flow.clean(name)
    needed = sum(path.stat().st_size for path in clean.out.rglob("*") if path.is_file())
    room = draw.randint(1 << 13, max(1 << 14, needed))
    with small_disk(out.with_name("disk"), room) as grow:
        place = (out if grow is None else out.with_name("disk")) / "out"
        place.parent.mkdir(exist_ok=True)
        ended = run(command.stage, command.line(place), file_size=room // 4 if grow is None else None)
        if ended.code == 0:
            return Survived("had room enough", compare(place, clean.files, clean.out))
        refused(ended, RETRYABLE, "make room")
        if (place / "manifest.json").exists():
            raise Broken("it has a manifest and is not finished")
        if grow:
            grow(LARGE_DISK)
        finish(command.stage, command.line(place))
        return Survived("went on with more room", compare(place, clean.files, clean.out))


@contextmanager
def small_disk(folder: Path, room: int) -> Iterator[Callable[[int], None] | None]:
    """A disk of `room` bytes at `folder`, and a function that resizes it. None where this user may not mount."""
    folder.mkdir()
    options = f"size={room >> 10}k,mode=777"
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", folder], capture_output=True)
    if mounted.returncode:
        yield None
        return

    def grow(size: int) -> None:
        subprocess.run(["mount", "-o", f"remount,size={size >> 10}k", folder], check=True)

    try:
        yield grow
    finally:
        subprocess.run(["umount", folder], check=True)


def two_together(flow: Flow, name: str, out: Path, draw: random.Random) -> Survived:
    """The same command twice: one owns the folder; the other refuses, or waits for a near end."""
    command = flow.commands[name]
    with Run(command.stage, command.line(out)) as first:
        time.sleep(draw.uniform(0, 0.2))
        with Run(command.stage, command.line(out)) as second:
            ended = [first.end(), second.end()]
    failed = [each for each in ended if each.code]
    if len(failed) > 1:
        raise Broken(f"neither has finished: {[each.said.strip()[-1000:] for each in ended]}")
    for each in failed:
        refused(each, RETRYABLE, "is being written by process")
    return Survived("one owned the folder", complete(flow, name, out))


def dump_damaged(flow: Flow, name: str, out: Path, draw: random.Random) -> Survived:
    """A dump cut short, with a flipped bit, a block of zeros, or junk at its end: refused, or harmless."""
    command = flow.commands[name]
    place = out.with_name("dump")
    if flow.dump in command.arguments:
        damaged = Path(shutil.copy(flow.dump, place))
    else:
        shutil.copytree(flow.dump.with_name("parts"), place)
        damaged = draw.choice(sorted(place.iterdir()))
    change = damage(damaged, draw)
    arguments = [place if isinstance(word, Path) else word for word in command.arguments]
    ended = run("corpus", Command("corpus", tuple(arguments)).line(out, draw.randint(1, 3)))
    if ended.code:
        refused(ended, 2, str(damaged))
        if out.exists() and files(out):
            raise Broken(f"{change}: refused, but {', '.join(files(out))} is left")
        return Survived("refused", 0)
    # The manifest holds the dump's own name and SHA-256.
    hashes, expected = ({**each, "manifest.json": ""} for each in (files(out), flow.clean(name).files))
    if hashes != expected:
        raise Broken(f"{change}: it was read, as another corpus")
    return Survived("harmless: the same corpus", len(hashes))


def damage(path: Path, draw: random.Random) -> str:
    """Change a file at a random offset; return a description."""
    data = bytearray(path.read_bytes())
    offset = draw.randrange(len(data))
    change = draw.choice(["cut", "bit", "bit", "zeros", "junk"])
    if change == "cut":
        del data[offset:]
    elif change == "bit":
        data[offset] ^= 1 << draw.randrange(8)
    elif change == "zeros":
        data[offset : offset + 4096] = bytes(len(data[offset : offset + 4096]))
    else:
        data += draw.randbytes(draw.randint(1, 4096))
    path.write_bytes(data)
    return f"{path.name}: {change} at byte {offset}"


def input_damaged(flow: Flow, name: str, out: Path, draw: random.Random) -> Survived:
    """A flipped bit in the output of another stage: refused, with the file named, and nothing finished."""
    command = flow.commands[name]
    kinds = {
        "vocab": ["corpus/corpus_*.txt"],
        "tfrecords": ["corpus/corpus_*.txt", "vocab/*/vocab.txt"],
        "convert": ["tpu-train/model.ckpt-best.data-*"],
    }
    damaged = draw.choice(sorted(flow.folder.glob(draw.choice(kinds[name]))))
    original, status = damaged.read_bytes(), damaged.stat()
    data = bytearray(original)
    offset = draw.randrange(len(data))
    data[offset] ^= 1 << draw.randrange(8)
    try:
        damaged.write_bytes(data)
        ended = run(command.stage, command.line(out))
    finally:
        damaged.write_bytes(original)
        os.utime(damaged, ns=(status.st_atime_ns, status.st_mtime_ns))
    refused(ended, 2, str(damaged).removesuffix(".data-00000-of-00001"))
    if list(out.rglob("manifest.json")):
        raise Broken(f"byte {offset} of {damaged} was damaged, and it is finished")
    # With the original bytes, the same command resumes.
    finish(command.stage, command.line(out))
    return Survived("refused, then went on", complete(flow, name, out))
