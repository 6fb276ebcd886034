"""One fault, done to a command at a random place or moment → `Survived`, or `Broken` with the broken promise."""

import os
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from tests.torture.flow import Clean, Command, Flow
from tests.torture.runs import RETRYABLE, Broken, Run, compare, files, finish, kill, refused, run, stamps, wait_for

# Files that two workers may have in progress: a shard of tfrecords is a file for each of two models.
AT_WORK = 4
LARGE_DISK = 1 << 28
# The input of each command, as patterns below the folder of the flow.
INPUTS = {
    "corpus": ["dump.json.gz"],
    "corpus of bzip2": ["parts/*"],
    "vocab": ["corpus/corpus_*.txt"],
    "tfrecords": ["corpus/corpus_*.txt", "vocab/*/vocab.txt"],
    "convert": ["tpu-train/model.ckpt-best.data-*"],
}
DAMAGES = ("cut", "bit", "bit", "zeros", "junk")


class Survived(NamedTuple):
    """The end of a fault, and the number of files that were compared with those of an undisturbed run."""

    how: str
    files: int


@dataclass(frozen=True)
class Case:
    """A command of a flow that is disturbed while it fills the empty folder `out`."""

    flow: Flow
    name: str
    out: Path
    draw: random.Random

    @property
    def command(self) -> Command:
        return self.flow.commands[self.name]

    @property
    def clean(self) -> Clean:
        return self.flow.clean(self.name)

    def start(self) -> Run:
        return Run(self.command.stage, self.command.line(self.out))

    def survived(self, how: str) -> Survived:
        """Compare with the undisturbed run. TensorFlow's files hold times: compare only their names."""
        if self.command.stage != "tpu-train":
            return Survived(how, compare(self.out, self.clean.files, self.clean.out))
        sides = files(self.out), self.clean.files
        names, expected = ({file for file in side if "tfevents" not in file} for side in sides)
        if names != expected:
            raise Broken(f"{self.out} differs from an undisturbed run in {', '.join(sorted(names ^ expected))}")
        return Survived(how, len(names))

    def resumed(self) -> Survived:
        """Run the same command, with a random number of workers, and compare."""
        before = stamps(self.out)
        if self.command.stage != "tpu-train":
            hashes = files(self.out)
            if partial := [file for file in before if hashes[file] != self.clean.files.get(file)]:
                raise Broken(f"files with a final name are not whole: {', '.join(partial)}")
        finish(self.command.stage, self.command.line(self.out, self.draw.randint(1, 3)))
        after = stamps(self.out)
        again = [file for file in before if after.get(file) != before[file]]
        if self.command.stage == "tfrecords" and len(again) > AT_WORK:
            raise Broken(f"finished files were made a second time: {', '.join(again)}")
        return self.survived("went on when run again")


Fault = Callable[[Case], Survived]


def main_killed(case: Case) -> Survived:
    """kill -9 of the main process; its workers must end by themselves."""
    return _killed(case, lambda running: kill(running.process.pid))


def all_killed(case: Case) -> Survived:
    """kill -9 of all processes together, as when a machine goes down."""
    return _killed(case, lambda running: os.killpg(running.process.pid, signal.SIGKILL))


def worker_killed(case: Case) -> Survived:
    """kill -9 of one worker: the run continues by itself, or ends with exit code 75."""

    def strike(running: Run) -> None:
        wait_for(lambda: running.workers() or running.process.poll() is not None, "it has started no workers")
        time.sleep(case.draw.uniform(0, 0.3))
        kill(case.draw.choice(running.workers() or [running.process.pid]))

    return _killed(case, strike, allowed=(0, RETRYABLE))


def _killed(case: Case, strike: Callable[[Run], None], allowed: tuple[int, ...] = ()) -> Survived:
    moment = case.draw.uniform(0, 0.9 * case.clean.seconds)
    while True:
        with case.start() as running:
            time.sleep(moment)
            struck = running.process.poll() is None
            if struck:
                strike(running)
            ended = running.end()
        if struck and not (ended.code == 0 and 0 not in allowed):
            break
        # It ended before the kill: repeat it with an earlier one.
        shutil.rmtree(case.out)
        moment /= 2
    if ended.code not in (-signal.SIGKILL, *allowed) or "Traceback" in ended.said:
        raise Broken(f"it ended with {ended.code}: {ended.said.strip()[-2000:]}")
    return case.survived("went on by itself") if ended.code == 0 else case.resumed()


def stopped(case: Case) -> Survived:
    """SIGTERM or SIGINT, as at preemption or Ctrl-C: one line and an exit code of its own."""
    signum, out = case.draw.choice([signal.SIGTERM, signal.SIGINT]), case.out
    with case.start() as running:
        # Earlier, the process ends as any program does.
        wait_for(lambda: any(out.rglob("run.json")) or running.process.poll() is not None, "it has not begun")
        time.sleep(case.draw.uniform(0, 0.5 * case.clean.seconds))
        kill(running.process.pid, signum)
        ended = running.end()
    # At the very end of a process Python no longer handles signals.
    if ended.code == 0 or (ended.code == -signum and not any(out.rglob("run.json"))):
        return case.survived("was done before")
    if ended.code != 128 + signum or "Traceback" in ended.said or "the same command resumes" not in ended.said:
        raise Broken(f"not exit code {128 + signum} and one line, but {ended.code}: {ended.said.strip()[-2000:]}")
    return case.resumed()


def disk_full(case: Case) -> Survived:
    """A disk that is full at a random point: one line, exit code 75; with room, the same command resumes."""
    command, clean, disk = case.command, case.clean, case.out.with_name("disk")
    needed = sum(path.stat().st_size for path in clean.out.rglob("*") if path.is_file())
    room = case.draw.randint(1 << 13, max(1 << 14, needed))
    with small_disk(disk, room) as grow:
        place = disk / "out" if grow else case.out
        ended = run(command.stage, command.line(place), file_size=None if grow else room // 4)
        how = "had room enough"
        if ended.code:
            refused(ended, RETRYABLE, "make room")
            if (place / "manifest.json").exists():
                raise Broken("it has a manifest and is not finished")
            if grow:
                grow(LARGE_DISK)
            finish(command.stage, command.line(place))
            how = "went on with more room"
        return Survived(how, compare(place, clean.files, clean.out))


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


def two_together(case: Case) -> Survived:
    """The same command twice: one owns the folder; the other refuses, or waits for a near end."""
    with case.start() as first:
        time.sleep(case.draw.uniform(0, 0.2))
        with case.start() as second:
            ended = [first.end(), second.end()]
    failed = [each for each in ended if each.code]
    if len(failed) > 1:
        raise Broken(f"neither has finished: {[each.said.strip()[-1000:] for each in ended]}")
    for each in failed:
        refused(each, RETRYABLE, "is being written by process")
    return case.survived("one owned the folder")


def damaged(case: Case) -> Survived:
    """A dump cut short, or with a flipped bit, a block of zeros, or junk at its end; a flipped bit in another input.

    The run must name the file and refuse it, with nothing finished. Damage to a dump may be harmless. With the original
    bytes the same command then resumes.
    """
    command, clean, of_dump = case.command, case.clean, case.command.stage == "corpus"
    path = case.draw.choice(sorted(case.flow.folder.glob(case.draw.choice(INPUTS[case.name]))))
    original, status = path.read_bytes(), path.stat()
    try:
        change = damage(path, case.draw, DAMAGES if of_dump else ("bit",))
        ended = run(command.stage, command.line(case.out, case.draw.randint(1, 3)))
    finally:
        path.write_bytes(original)
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    if of_dump and not ended.code:
        # The manifest holds the dump's own SHA-256.
        hashes, expected = ({**each, "manifest.json": ""} for each in (files(case.out), clean.files))
        if hashes != expected:
            raise Broken(f"{change}: it was read, as another corpus")
        return Survived("harmless: the same corpus", len(hashes))
    refused(ended, 2, str(path).removesuffix(".data-00000-of-00001"))
    if list(case.out.rglob("manifest.json")) or (of_dump and files(case.out)):
        raise Broken(f"{change}: refused, but {', '.join(files(case.out))} is left")
    finish(command.stage, command.line(case.out))
    return case.survived("refused, then went on")


def damage(path: Path, draw: random.Random, changes: Sequence[str] = DAMAGES) -> str:
    """Change a file at a random offset; return a description."""
    data = bytearray(path.read_bytes())
    offset, change = draw.randrange(len(data)), draw.choice(changes)
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
