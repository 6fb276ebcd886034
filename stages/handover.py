"""What one stage hands to the next: whole files, a manifest that says how they were made, errors for people.

The only code that all stages share. It runs on Python 3.7 as well (``tpu-train``) and needs nothing
outside the standard library.

An output folder goes through three states:

1. ``claim`` locks the folder and writes ``run.json``: the stage, its options and a fingerprint of its inputs.
2. Files appear one by one, each under a temporary name first, so that a final name always holds a
   whole file.
3. ``write_manifest`` comes last and takes the place of ``run.json``. No ``manifest.json``, not finished:
   the same command goes on from what is there.
"""

import argparse
import contextlib
import errno
import fcntl
import hashlib
import json
import os
import secrets
import signal
import socket
import sys
import time
from typing import IO, Any, Callable, Dict, Iterable, Iterator, List, Optional

MANIFEST = "manifest.json"
RUN = "run.json"
VERSION = "0.1.0"
PARTIAL = ".partial"
LOCK = ".lock"
# EX_TEMPFAIL of sysexits.h.
RETRYABLE = 75
# What the system says when there is no room: on the disk, in a quota, for a file.
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class Refusal(Exception):
    """An error for a person: what is wrong, where, and what to do about it. Exit code 2, no traceback."""

    code = 2


class Retryable(Refusal):
    """A refusal for which the command itself is right: once its cause is gone, the same command goes on. Exit code 75."""

    code = RETRYABLE


def unwritable(place: str, error: OSError) -> Refusal:
    """The refusal for a folder or file that cannot be written: retryable where it is for lack of room."""
    if error.errno in _NO_ROOM:
        return Retryable("cannot write to %s: %s; make room, then the same command goes on" % (place, error.strerror))
    return Refusal("cannot write to %s: %s" % (place, error.strerror))


def run(
    stage: str, main: Callable[[List[str]], None], arguments: Optional[List[str]] = None, resumes: bool = True
) -> int:
    """Call ``main`` with the command line and turn its end into an exit code.

    0: done. 2: usage or bad input (a ``Refusal``, told in one line). 75: ``Retryable``, told likewise.
    130/143: interrupted by SIGINT/SIGTERM, told in one line (``resumes``: the same command goes on from
    there). Anything else is a bug and keeps its traceback.
    """

    def terminated(signum: int, frame: Any) -> None:
        raise KeyboardInterrupt(signum)

    signal.signal(signal.SIGTERM, terminated)
    try:
        main(sys.argv[1:] if arguments is None else arguments)
        sys.stdout.flush()
    except Refusal as refusal:
        print("%s: error: %s" % (stage, refusal), file=sys.stderr)
        return refusal.code
    except KeyboardInterrupt as interrupt:
        signum = interrupt.args[0] if interrupt.args else signal.SIGINT
        print("%s: interrupted%s" % (stage, resumes * "; the same command goes on from here"), file=sys.stderr)
        return 128 + int(signum)
    except BrokenPipeError:
        # The reader of our standard output has gone: nothing is left to say, and nothing to say it to.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    return 0


class HelpFormatter(argparse.ArgumentDefaultsHelpFormatter):
    """``--help`` with every default shown, and paragraphs of the description kept as written."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=30, width=110)

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        return "\n".join(indent + line for line in text.strip().splitlines())

    def _get_help_string(self, action: argparse.Action) -> Optional[str]:
        if action.default is None or action.default is False or action.required:
            return action.help
        return super()._get_help_string(action)


@contextlib.contextmanager
def whole_file(path: str, mode: str = "wb") -> Iterator[IO[Any]]:
    """A file that gets its name only when it is complete and on disk.

    Written as ``.<name>.<random>.partial`` beside it, synchronised, then renamed over ``path``: two who
    write the same file (a task that a cluster has given up, and its second try) are not in each other's way.
    When the body fails, nothing is left. Text modes are UTF-8 with plain newlines.
    """
    folder, name = os.path.split(os.path.abspath(path))
    temporary = os.path.join(folder, ".%s.%s%s" % (name, secrets.token_hex(4), PARTIAL))
    text = {} if "b" in mode else {"encoding": "utf-8", "newline": "\n"}
    try:
        with open(temporary, mode, **text) as stream:  # type: ignore[call-overload]
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(temporary, path)
    except BaseException as error:
        with contextlib.suppress(OSError):
            os.remove(temporary)
        if isinstance(error, OSError) and error.errno in _NO_ROOM:
            raise unwritable(path, error)
        raise


def write_json(path: str, value: Any) -> None:
    """``value`` as indented UTF-8 JSON with sorted keys, whole or not at all."""
    with whole_file(path, "w") as stream:
        json.dump(value, stream, ensure_ascii=False, indent=1, sort_keys=True)
        stream.write("\n")


def read_json(path: str) -> Any:
    """The JSON value of a file; ``Refusal`` names file and position when it is none."""
    try:
        with open(path, encoding="utf-8") as stream:
            return json.load(stream)
    except OSError as error:
        raise Refusal("cannot read %s: %s" % (path, error.strerror))
    except UnicodeDecodeError as error:
        raise Refusal("%s is not UTF-8 (byte %d)" % (path, error.start))
    except ValueError as error:
        raise Refusal("%s is not JSON: %s" % (path, error))


def sha256(path: str) -> str:
    """The SHA-256 of a file's bytes, in hexadecimal."""
    digest = hashlib.sha256()
    with open(path, "rb") as stream:
        for block in iter(lambda: stream.read(1 << 20), b""):
            digest.update(block)
    return digest.hexdigest()


def describe(path: str) -> Dict[str, Any]:
    """What a manifest says of every file: its size in bytes and its SHA-256."""
    return {"bytes": os.path.getsize(path), "sha256": sha256(path)}


def claim(stage: str, out: str, options: Dict[str, Any], inputs: Dict[str, Any]) -> bool:
    """Make ``out`` the folder of this very run, and of no other process. True when it is already finished there.

    ``options`` and ``inputs`` are what decides the bytes of the output (not the number of jobs): plain
    JSON values. A folder that another run has claimed, or that holds files of unknown origin, is
    refused with the first difference named; one that another process is writing, with its name.
    """
    identity = {"stage": stage, "version": VERSION, "options": options, "inputs": inputs}
    identity = json.loads(json.dumps(identity))
    if os.path.exists(os.path.join(out, MANIFEST)):
        _refuse_another(out, MANIFEST, identity)
        return True
    try:
        os.makedirs(out, exist_ok=True)
        _lock(out)
        if os.path.exists(os.path.join(out, MANIFEST)):
            # The process that had the lock has finished the run.
            _refuse_another(out, MANIFEST, identity)
            release(out)
            return True
        if not os.path.exists(os.path.join(out, RUN)):
            strangers = sorted(name for name in os.listdir(out) if not name.endswith(PARTIAL) and name != LOCK)
            if strangers:
                release(out)
                raise Refusal(
                    "%s holds files that are not of a %s run (%s); name an empty folder with --out"
                    % (out, stage, strangers[0])
                )
            write_json(os.path.join(out, RUN), identity)
        # What a killed run left half written.
        for name in os.listdir(out):
            if name.startswith(".") and name.endswith(PARTIAL) and os.path.isfile(os.path.join(out, name)):
                os.remove(os.path.join(out, name))
    except OSError as error:
        raise unwritable(out, error)
    _refuse_another(out, RUN, identity)
    return False


def _refuse_another(out: str, record: str, identity: Dict[str, Any]) -> None:
    recorded = read_json(os.path.join(out, record))
    recorded = recorded if isinstance(recorded, dict) else {}
    difference = _difference({key: recorded.get(key) for key in identity}, identity)
    if difference:
        raise Refusal(
            "%s holds another run: %s; name another folder with --out, or remove this one" % (out, difference)
        )


# Folders that this process has locked → the open lock file. Workers that are forked hold the lock with it, so that it
# is free only when nobody writes any more.
_locks: Dict[str, IO[str]] = {}
# A worker whose parent was killed ends within this time, in seconds.
_PATIENCE = 3.0


def _lock(out: str) -> None:
    """Hold ``out`` until ``release`` or the end of this process, however it comes."""
    if out in _locks:
        return
    path = os.path.join(out, LOCK)
    given_up = time.monotonic() + _PATIENCE
    while True:
        stream = open(path, "a+", encoding="utf-8")
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            stream.seek(0)
            owner = stream.readline().strip() or "another process"
            stream.close()
            if time.monotonic() > given_up:
                raise Retryable("%s is being written by %s; wait for its end" % (out, owner))
            time.sleep(0.1)
            continue
        with contextlib.suppress(FileNotFoundError):
            # The file that was locked may have been removed by its owner meanwhile.
            if os.path.samestat(os.fstat(stream.fileno()), os.stat(path)):
                break
        stream.close()
    stream.truncate(0)
    stream.write("process %d on %s\n" % (os.getpid(), socket.gethostname()))
    stream.flush()
    _locks[out] = stream


def release(out: str) -> None:
    """Let others claim ``out``."""
    stream = _locks.pop(out, None)
    if stream is not None:
        with contextlib.suppress(FileNotFoundError):
            os.remove(os.path.join(out, LOCK))
        stream.close()


def _difference(old: Any, new: Any, name: str = "") -> Optional[str]:
    """The first place where two JSON values differ, in words."""
    if isinstance(old, dict) and isinstance(new, dict):
        for key in sorted(set(old) | set(new)):
            found = _difference(old.get(key), new.get(key), (name + "." + key).lstrip("."))
            if found:
                return found
        return None
    if old == new:
        return None
    return "%s was %s and is now %s" % (name, json.dumps(old, ensure_ascii=False), json.dumps(new, ensure_ascii=False))


def write_manifest(
    stage: str, out: str, options: Dict[str, Any], inputs: Dict[str, Any], files: Dict[str, Any], **more: Any
) -> None:
    """Finish a run: ``manifest.json`` with options, inputs, versions, counts and every file's size and SHA-256.

    ``files`` maps a path relative to ``out`` to what ``describe`` says of it, plus whatever the stage
    knows (examples, lines). ``more`` are the stage's own sections (``counts``, ``dropped``,
    ``versions``). Times are left out: the same input gives the same manifest, byte for byte.
    """
    manifest = dict(more, stage=stage, version=VERSION, options=options, inputs=inputs, files=files)
    write_json(os.path.join(out, MANIFEST), manifest)
    with contextlib.suppress(FileNotFoundError):
        os.remove(os.path.join(out, RUN))
    release(out)


def read_manifest(folder: str, stage: str) -> Dict[str, Any]:
    """The manifest that ``stage`` left in ``folder``; ``Refusal`` says which command makes it."""
    path = os.path.join(folder, MANIFEST)
    if not os.path.isdir(folder):
        raise Refusal("there is no folder %s; make %s writes one" % (folder, stage))
    if not os.path.exists(path):
        state = "is not finished" if os.path.exists(os.path.join(folder, RUN)) else "was not written by " + stage
        raise Refusal("%s %s: it has no %s; run make %s" % (folder, state, MANIFEST, stage))
    manifest = read_json(path)
    if not isinstance(manifest, dict) or manifest.get("stage") != stage:
        raise Refusal("%s is not a manifest of %s" % (path, stage))
    return manifest


def documents(corpus: str, name: str, described: Dict[str, Any]) -> Iterator[List[str]]:
    """The articles of one corpus shard, each a list of sentences, in order.

    ``described`` is what the corpus manifest says of the file. A file of other bytes is refused at its
    end, when they are known: do not finish anything before the iterator is exhausted.
    """
    path = os.path.join(corpus, name)
    digest = hashlib.sha256()
    article: List[str] = []
    try:
        with open(path, "rb") as stream:
            for line in stream:
                digest.update(line)
                if line != b"\n":
                    article.append(line.decode("utf-8", "replace").rstrip("\n"))
                elif article:
                    yield article
                    article = []
    except OSError as error:
        raise Refusal("cannot read %s: %s" % (path, error.strerror))
    if digest.hexdigest() != described["sha256"]:
        raise Refusal("%s is not what make corpus wrote (its SHA-256 differs); make the corpus again" % path)
    if article:
        yield article


def cores() -> int:
    """How many processors this process may use: the default number of jobs."""
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1


def over_shards(function: Callable[[Any], Any], shards: Iterable[Any], jobs: int) -> Iterator[Any]:
    """``function`` of every shard, over ``jobs`` processes, results in the order of the shards.

    ``function`` and what it takes and gives are pickled between processes of this program, so it must be
    a module's own function or a partial of one. With one job everything runs in this process.
    """
    if jobs == 1:
        yield from map(function, shards)
        return
    import concurrent.futures.process  # 40 ms, which one job need not take

    pool = concurrent.futures.ProcessPoolExecutor(jobs, initializer=_leave_signals_to_the_parent)
    # A process that has just begun loses the signals that it gets. They wait until it is ready for them.
    held = signal.pthread_sigmask(signal.SIG_BLOCK, _ENDING)
    try:
        # Not pool.map: it cancels what is left when an error comes, which the pool does not expect of its dead workers.
        results = [pool.submit(function, shard) for shard in shards][::-1]
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, held)
    try:
        while results:
            yield results.pop().result()
    except concurrent.futures.process.BrokenProcessPool:
        raise Refusal(
            "a worker process died (killed, or out of memory); the same command goes on from here, "
            "and fewer --jobs need less memory"
        )
    except BaseException:
        # Do not wait for shards that nobody will take.
        for worker in list(pool._processes.values()):
            worker.terminate()
        raise
    finally:
        pool.shutdown()


_ENDING = {signal.SIGINT, signal.SIGTERM}


def _leave_signals_to_the_parent() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _ENDING)


class Progress:
    """How far a long job is, on standard error: done, rate, time left.

    On a terminal one line is rewritten; elsewhere a plain line appears every ten seconds. ``total`` may
    be unknown (None): then only count and rate are shown.
    """

    def __init__(self, stage: str, unit: str, total: Optional[float] = None) -> None:
        self.stage, self.unit, self.total = stage, unit, total
        self.done = 0.0
        self.start = self.last = time.monotonic()
        self.terminal = sys.stderr.isatty()
        self.every = 0.2 if self.terminal else 10.0

    def add(self, amount: float, note: str = "") -> None:
        """``amount`` more units are done; ``note`` is shown behind the figures."""
        self.done += amount
        now = time.monotonic()
        if now - self.last >= self.every:
            self.last = now
            self._show(note, "\r" if self.terminal else "")

    def close(self, note: str = "") -> None:
        """The last line: everything that was done, in how long."""
        self._show(note, "\r" if self.terminal else "", final=True)

    def _show(self, note: str, start: str, final: bool = False) -> None:
        elapsed = max(time.monotonic() - self.start, 1e-9)
        rate = self.done / elapsed
        line = "%s: %s" % (self.stage, _amount(self.done))
        if self.total and not final:
            line += " of %s (%d %%)" % (_amount(self.total), 100 * self.done / self.total)
        line += " %s, %s/s" % (self.unit, format(rate, ",.0f" if rate >= 10 else ",.1f"))
        if final:
            line += ", in %s" % duration(elapsed)
        elif self.total and rate:
            line += ", %s left" % duration(max(self.total - self.done, 0) / rate)
        if note:
            line += ", " + note
        clear = "\x1b[K" if self.terminal else ""
        print(start + line + clear, end="" if self.terminal and not final else "\n", file=sys.stderr, flush=True)


def _amount(value: float) -> str:
    """Whole numbers as they are, a small fraction with a decimal."""
    return format(value, ",.1f" if value < 10 and value != int(value) else ",.0f")


def duration(seconds: float) -> str:
    """Seconds as a person says them: ``0.4 s``, ``42 s``, ``3 min 05 s``, ``2 h 07 min``."""
    if seconds < 10:
        return "%.1f s" % seconds
    if seconds < 60:
        return "%d s" % seconds
    if seconds < 3600:
        return "%d min %02d s" % divmod(int(seconds), 60)
    return "%d h %02d min" % divmod(int(seconds) // 60, 60)
