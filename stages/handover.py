"""What one stage hands to the next: whole files, a manifest that says how they were made, errors for people.

With ``storage``, ``lock`` and ``refusal`` the only code that all stages share. It runs on Python 3.7 as well
(``tpu-train``), and for folders on this machine needs nothing outside the standard library.

An output folder goes through three states:

1. ``claim`` locks the folder and writes ``run.json``: the stage, its options and a fingerprint of its inputs.
2. Files appear one by one, each under a temporary name first, so that a final name always holds a
   whole file.
3. ``write_manifest`` comes last and takes the place of ``run.json``. No ``manifest.json``, not finished:
   the same command goes on from what is there.
"""

import argparse
import hashlib
import json
import os
import signal
import sys
import time
from typing import Any, Callable, Dict, Iterator, List, Optional, Tuple

from stages import lock, storage
from stages.refusal import Refusal as Refusal
from stages.refusal import Retryable as Retryable
from stages.refusal import unwritable as unwritable
from stages.storage import PARTIAL as PARTIAL
from stages.storage import describe as describe
from stages.storage import sha256 as sha256
from stages.storage import whole_file as whole_file

MANIFEST = "manifest.json"
RUN = "run.json"
VERSION = "0.1.0"
# A manifest of 100,000 files has some 25 MB.
_LONGEST_JSON = 1 << 28


def run(
    stage: str, main: Callable[[List[str]], None], arguments: Optional[List[str]] = None, resumes: bool = True
) -> int:
    """Call ``main`` with the command line and turn its end into an exit code.

    0: done. 2: usage or bad input (a ``Refusal``, told in one line). 75: ``Retryable`` or no memory, told likewise.
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
        lost = lock.lost()
        if lost:
            print("%s: error: %s" % (stage, lost), file=sys.stderr)
            return lost.code
        signum = interrupt.args[0] if interrupt.args else signal.SIGINT
        print("%s: interrupted%s" % (stage, resumes * "; the same command goes on from here"), file=sys.stderr)
        return 128 + int(signum)
    except MemoryError:
        print("%s: error: there is not enough memory; with more, or less at once, it goes on" % stage, file=sys.stderr)
        return Retryable.code
    except BrokenPipeError:
        # The reader of our standard output has gone: nothing is left to say, and nothing to say it to.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    finally:
        lock.release_all()
    return 0


EXIT_CODES = """
exit codes: 0 done, 1 a bug, 2 usage or bad input, 75 try again when the cause is gone, 130 and 143 interrupted;
            137 killed from outside, most likely for lack of memory
"""


class HelpFormatter(argparse.ArgumentDefaultsHelpFormatter):
    """``--help`` with every default shown, paragraphs of the description kept as written, and the exit codes last."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=30, width=110)

    def format_help(self) -> str:
        # It formats the usage before an error as well, which is one item alone.
        return super().format_help() + (EXIT_CODES if len(self._root_section.items) > 1 else "")

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        return "\n".join(indent + line for line in text.strip().splitlines())

    def _get_help_string(self, action: argparse.Action) -> Optional[str]:
        if action.default is None or action.default is False or action.required:
            return action.help
        return super()._get_help_string(action)


def number(kind: Callable[[str], float], least: float) -> Callable[[str], float]:
    """A flag's type: a finite number of ``kind`` that is ``least`` or more."""

    def parse(text: str) -> float:
        try:
            value = kind(text)
        except ValueError:
            value = float("nan")
        if not least <= value < float("inf"):
            word = "whole number" if kind is int else "number"
            raise argparse.ArgumentTypeError("%s is no %s of %s or more" % (text, word, least))
        return value

    return parse


def write_json(path: str, value: Any) -> None:
    """``value`` as indented UTF-8 JSON with sorted keys, whole or not at all."""
    with whole_file(path, "w") as stream:
        json.dump(value, stream, ensure_ascii=False, indent=1, sort_keys=True)
        stream.write("\n")


def read_json(path: str) -> Any:
    """The JSON value of a file; ``Refusal`` names file and position when it is none."""
    try:
        with storage.reading(path) as stream:
            data = stream.read(_LONGEST_JSON + 1)
        if len(data) > _LONGEST_JSON:
            raise Refusal("%s is longer than %d MiB, which no file of this kind is" % (path, _LONGEST_JSON >> 20))
        return json.loads(data.decode())
    except OSError as error:
        raise Refusal("cannot read %s: %s" % (path, error.strerror))
    except UnicodeDecodeError as error:
        raise Refusal("%s is not UTF-8 (byte %d)" % (path, error.start))
    except (ValueError, RecursionError) as error:
        raise Refusal("%s is not JSON: %s" % (path, error))


def claim(stage: str, out: str, options: Dict[str, Any], inputs: Dict[str, Any]) -> bool:
    """Make ``out`` the folder of this very run, and of no other process. True when it is already finished there.

    ``options`` and ``inputs`` are what decides the bytes of the output (not the number of jobs): plain
    JSON values. A folder that another run has claimed, or that holds files of unknown origin, is
    refused with the first difference named; one that another process is writing, with its name.
    """
    identity = {"stage": stage, "version": VERSION, "options": options, "inputs": inputs}
    identity = json.loads(json.dumps(identity))
    if storage.exists(storage.join(out, MANIFEST)):
        _refuse_another(out, MANIFEST, identity)
        return True
    try:
        storage.make_folder(out)
        lock.hold(out)
        present = storage.names(out)
        if MANIFEST in present:
            # The process that had the lock has finished the run.
            _refuse_another(out, MANIFEST, identity)
            lock.release(out)
            return True
        if RUN not in present:
            strangers = [name for name in present if not name.endswith(PARTIAL) and name != lock.NAME]
            if strangers:
                lock.release(out)
                raise Refusal(
                    "%s holds files that are not of a %s run (%s); name an empty folder with --out"
                    % (out, stage, strangers[0])
                )
            write_json(storage.join(out, RUN), identity)
        _remove_partial(out, present)
    except OSError as error:
        raise unwritable(out, error)
    _refuse_another(out, RUN, identity)
    return False


def _remove_partial(out: str, present: List[str]) -> None:
    """Remove what a run, or a worker, that was killed has left half written."""
    storage.remove_all(out, [name for name in present if name.startswith(".") and name.endswith(PARTIAL)])


def _refuse_another(out: str, record: str, identity: Dict[str, Any]) -> None:
    recorded = read_json(storage.join(out, record))
    recorded = recorded if isinstance(recorded, dict) else {}
    difference = _difference({key: recorded.get(key) for key in identity}, identity)
    if difference:
        raise Refusal(
            "%s holds another run: %s; name another folder with --out, or remove this one" % (out, difference)
        )


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
    _remove_partial(out, storage.names(out))
    manifest = dict(more, stage=stage, version=VERSION, options=options, inputs=inputs, files=files)
    write_json(storage.join(out, MANIFEST), manifest)
    storage.remove(storage.join(out, RUN))
    lock.release(out)


def read_manifest(folder: str, stage: str) -> Dict[str, Any]:
    """The manifest that ``stage`` left in ``folder``; ``Refusal`` says which command makes it."""
    path = storage.join(folder, MANIFEST)
    if not storage.is_folder(folder):
        raise Refusal("there is no folder %s; make %s writes one" % (folder, stage))
    if not storage.exists(path):
        state = "is not finished" if storage.exists(storage.join(folder, RUN)) else "was not written by " + stage
        raise Refusal("%s %s: it has no %s; run make %s" % (folder, state, MANIFEST, stage))
    manifest = read_json(path)
    if not isinstance(manifest, dict) or manifest.get("stage") != stage:
        raise Refusal("%s is not a manifest of %s" % (path, stage))
    files = manifest.get("files")
    if not isinstance(files, dict):
        raise Refusal("%s is not a manifest of %s: it lists no files" % (path, stage))
    for name, described in files.items():
        wrong = _outside(folder, name) or _undescribed(described)
        if wrong:
            raise Refusal("%s is not a manifest of %s: file %s %s" % (path, stage, json.dumps(name), wrong))
    return manifest


def _outside(folder: str, name: str) -> Optional[str]:
    """What is wrong with a file's name in the manifest of a folder: it must not lead out of it, by a link neither."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return "has no name"
    if storage.leads_out(name):
        return "has a name that leads out of the folder"
    if not storage.remote(folder):
        top = os.path.realpath(folder)
        if os.path.commonpath([top, os.path.realpath(os.path.join(top, name))]) != top:
            return "is a link that leads out of the folder"
    return None


def _undescribed(described: Any) -> Optional[str]:
    """What is wrong with what a manifest says of a file: its size and SHA-256 must be there."""
    if not isinstance(described, dict) or not isinstance(described.get("sha256"), str):
        return "has no SHA-256"
    return None if _is_count(described.get("bytes")) else "has no size"


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def read_shards(corpus: str) -> List[Tuple[str, Dict[str, Any]]]:
    """The files of a corpus in order, each with what the manifest says of it. All are there, in their full length."""
    manifest = read_manifest(corpus, "corpus")
    present = storage.files_below(corpus)
    shards = sorted(manifest["files"].items())
    if not shards:
        raise Refusal("%s lists no files; make the corpus again" % storage.join(corpus, MANIFEST))
    for name, described in shards:
        path = storage.join(corpus, name)
        if name not in present:
            raise Refusal("%s is missing; make the corpus again" % path)
        if present[name] != described["bytes"]:
            raise Refusal(
                "%s is not what make corpus wrote (%d bytes, not %d); make the corpus again"
                % (path, present[name], described["bytes"])
            )
        # A sentence has a character and a line end at least.
        if not all(_is_count(described.get(what)) and described[what] <= present[name] for what in _COUNTED):
            raise Refusal(
                "%s does not say how much is in %s; make the corpus again" % (storage.join(corpus, MANIFEST), name)
            )
    return shards


_COUNTED = ("articles", "sentences", "characters")


def documents(corpus: str, name: str, described: Dict[str, Any]) -> Iterator[List[str]]:
    """The articles of one corpus shard, each a list of sentences, in order.

    ``described`` is what the corpus manifest says of the file. A file of other bytes is refused at its
    end, when they are known: do not finish anything before the iterator is exhausted.
    """
    path = storage.join(corpus, name)
    digest = hashlib.sha256()
    article: List[str] = []
    try:
        with storage.reading(path) as stream:
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
