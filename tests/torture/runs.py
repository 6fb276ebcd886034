"""A stage's command → its processes, its end, and the files that it left."""

import contextlib
import hashlib
import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Self

from tests.torture.differences import difference, keep_copies

ROOT = Path(__file__).resolve().parents[2]
RETRYABLE = 75
# Seconds: a busy machine is slow, not wrong.
PATIENCE = 300.0
# Seconds in which workers notice that their parent was killed, as stages/handover/lock.py promises.
ENDING = 15.0


class Broken(Exception):
    """A promise that was not kept; the message names it."""


class Ended(NamedTuple):
    """The end of a command: exit code (negative: the signal that killed it) and its standard error."""

    code: int
    said: str


def python(stage: str) -> Path:
    """The interpreter of a stage's environment, which may be missing."""
    return ROOT / ".venv" / stage / "bin" / "python"


class Run:
    """One command of a stage, started in a session of its own, so that all its processes can be found.

    `with Run(…)` ends all its processes at the end of the body. `file_size`: no file may be larger. `variables`: more
    of the environment.
    """

    def __init__(
        self,
        stage: str,
        arguments: Sequence[object],
        file_size: int | None = None,
        variables: Mapping[str, str] | None = None,
    ) -> None:
        limit = [] if file_size is None else ["prlimit", f"--fsize={file_size}"]
        command = [*limit, str(python(stage)), "-m", f"stages.{stage.replace('-', '_')}", *map(str, arguments)]
        # No pipe: it would stay open for as long as any worker does.
        self._errors = tempfile.TemporaryFile("w+", encoding="utf-8")
        streams: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": self._errors}
        environment = {**os.environ, **(variables or {})}
        self.process = subprocess.Popen(command, cwd=ROOT, env=environment, start_new_session=True, **streams)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        # The main process first: it would replace a worker.
        kill(self.process.pid)
        self.process.wait()
        while left := self.members():
            for process in left:
                kill(process)
            time.sleep(0.005)
        self._errors.close()

    def members(self) -> list[int]:
        """Its living processes."""
        return members(self.process.pid)

    def workers(self) -> list[int]:
        """Its living processes but the first one."""
        return [process for process in self.members() if process != self.process.pid]

    def end(self) -> Ended:
        """Wait for its end, and that of its workers."""
        try:
            code = self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            raise Broken(f"it has not ended after {PATIENCE:.0f} s")
        wait_for(lambda: not self.members(), "its workers have not ended with it", ENDING)
        self._errors.seek(0)
        return Ended(code, self._errors.read())


def run(stage: str, arguments: Sequence[object], file_size: int | None = None) -> Ended:
    """Run a command of a stage to its end."""
    with Run(stage, arguments, file_size) as running:
        return running.end()


def finish(stage: str, arguments: Sequence[object]) -> Ended:
    """Run a command until it is done; repeat it twice where its exit code allows that."""
    for _ in range(3):
        ended = run(stage, arguments)
        if ended.code != RETRYABLE:
            break
    if ended.code:
        raise Broken(f"the same command ended with {ended.code}: {ended.said.strip()[-2000:]}")
    return ended


def refused(ended: Ended, code: int, *words: str) -> None:
    """Check that a command ended with this exit code and one error line that holds these words."""
    errors = [line for line in ended.said.splitlines() if ": error: " in line]
    if ended.code != code or "Traceback" in ended.said or len(errors) != 1:
        raise Broken(f"not exit code {code} and one line, but {ended.code}: {ended.said.strip()[-2000:]}")
    for word in words:
        if word not in errors[0]:
            raise Broken(f"{word!r} is not in: {errors[0]}")


def members(session: int) -> list[int]:
    """The living processes of a session."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            state, _, _, its_session = entry.read_text().rpartition(")")[2].split()[:4]
            if state not in "ZX" and int(its_session) == session:
                found.append(int(entry.parent.name))
    return found


def kill(process: int, signum: int = signal.SIGKILL) -> None:
    """Send a signal to a process, which may have ended."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(process, signum)


def wait_for(condition: Callable[[], object], otherwise: str, seconds: float = PATIENCE) -> None:
    """Return as soon as the condition holds."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise Broken(f"{otherwise} (after {seconds:.0f} s)")
        time.sleep(0.005)


def files(folder: Path) -> dict[str, str]:
    """The SHA-256 of every file in and below a folder, hidden ones too."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def stamps(folder: Path) -> dict[str, tuple[int, int, int]]:
    """Inode, time and size of all files with a final name: those that are not hidden, nor in a hidden folder.

    They distinguish a file that was written again from an untouched one.
    """
    paths = {path.relative_to(folder): path for path in sorted(folder.rglob("*"))}
    return {
        str(name): (path.stat().st_ino, path.stat().st_mtime_ns, path.stat().st_size)
        for name, path in paths.items()
        if path.is_file() and name.name != "run.json" and not any(part.startswith(".") for part in name.parts)
    }


def compare(folder: Path, clean: dict[str, str], clean_folder: Path) -> int:
    """The number of files in a folder. Broken unless they are those of an undisturbed run, byte for byte.

    `clean` is the result of `files` for that run, in `clean_folder`. Copies of files that differ are kept.
    """
    hashes = files(folder)
    more, fewer = sorted(set(hashes) - set(clean)), sorted(set(clean) - set(hashes))
    if more or fewer:
        raise Broken(f"{folder} has left over: {', '.join(more) or 'nothing'}; lacks: {', '.join(fewer) or 'nothing'}")
    other = [name for name in hashes if hashes[name] != clean[name]]
    if other:
        details = [f"{name} ({difference(folder / name, clean_folder / name)})" for name in other]
        copies = keep_copies(folder, clean_folder, other)
        message = f"in {folder} these are not the bytes of an undisturbed run: {', '.join(details)}"
        raise Broken(f"{message}; both are kept in {copies}")
    return len(hashes)
