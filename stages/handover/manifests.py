"""A stage's output folder: claimed for one run, filled with whole files, finished by a manifest.

Runs on Python 3.7 as well (``tpu-train``). A folder goes through three states:

1. ``claim`` locks the folder and writes ``run.json``: the stage, its options and a fingerprint of its inputs.
2. Files appear one by one, each under a temporary name first, so that a final name always holds a
   whole file.
3. ``write_manifest`` comes last and takes the place of ``run.json``. No ``manifest.json``, not finished:
   the same command resumes from what is there.
"""

import json
import os
from typing import Any, Dict, List, Optional

from stages.command.refusal import Refusal, unwritable
from stages.handover import lock, storage
from stages.handover.storage import PARTIAL, whole_file

MANIFEST = "manifest.json"
RUN = "run.json"
VERSION = "0.1.0"
# A manifest of 100,000 files has some 25 MB.
_LONGEST_JSON = 1 << 28


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
    return None if is_count(described.get("bytes")) else "has no size"


def is_count(value: Any) -> bool:
    """Whether a JSON value is a whole number of 0 or more."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0
