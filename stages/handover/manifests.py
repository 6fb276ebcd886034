"""A stage's output folder: claimed for one run (``run.json``), filled, finished by ``manifest.json``.

Python 3.7 or later.
"""

import json
from typing import Any, Dict, List, Optional

from stages.command.refusal import Refusal, unwritable
from stages.handover import lock, storage
from stages.handover.storage import PARTIAL, whole_file

MANIFEST = "manifest.json"
RUN = "run.json"
VERSION = "0.1.0"
# The fields that identify a run, in manifest.json and in run.json.
IDENTITY = ("stage", "version", "options", "inputs")
# A manifest of 100,000 files has about 25 MB.
_LONGEST_JSON = 1 << 28


def write_json(path: str, value: Any) -> None:
    """``value`` as indented UTF-8 JSON with sorted keys, whole or not at all."""
    with whole_file(path, "w") as stream:
        json.dump(value, stream, ensure_ascii=False, indent=1, sort_keys=True)
        stream.write("\n")


def read_json(path: str) -> Any:
    """The JSON value of a file. ``Refusal``, with file and position, for invalid JSON."""
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
    """Make ``out`` the folder of this run and lock it for this process. True if the run is already finished there.

    ``options`` and ``inputs``: the JSON values that decide the bytes of the output. ``Refusal`` for a folder of another
    run (with the first difference) or with unknown files; ``Retryable`` if another process is writing there.
    """
    run = json.loads(json.dumps({"stage": stage, "version": VERSION, "options": options, "inputs": inputs}))
    finished = storage.exists(storage.join(out, MANIFEST)) or _occupy(out, run)
    difference = _difference(identity(storage.join(out, MANIFEST if finished else RUN)), run)
    if difference:
        remedy = "name another folder with --out, or remove this one"
        raise Refusal("%s was made with other options or inputs: %s; %s" % (out, difference, remedy))
    return finished


def _occupy(out: str, run: Dict[str, Any]) -> bool:
    """Lock a folder, and write ``run.json`` if it has none. True if another process has finished the run meanwhile."""
    try:
        storage.make_folder(out)
        lock.hold(out)
        present = storage.names(out)
        strangers = [name for name in present if not name.endswith(PARTIAL) and name != lock.NAME]
        if MANIFEST in present:
            lock.release(out)
            return True
        if RUN not in present:
            if strangers:
                lock.release(out)
                held = "%s holds files that are not of a %s run (%s)" % (out, run["stage"], strangers[0])
                raise Refusal("%s; name an empty folder with --out" % held)
            write_json(storage.join(out, RUN), run)
        _remove_partial(out, present)
    except OSError as error:
        raise unwritable(out, error)
    return False


def _remove_partial(out: str, present: List[str]) -> None:
    """Remove the half-written files of killed processes."""
    storage.remove_all(out, [name for name in present if name.startswith(".") and name.endswith(PARTIAL)])


def identity(path: str) -> Dict[str, Any]:
    """The fields of ``manifest.json`` or ``run.json`` that identify the run; empty if it holds no JSON object."""
    record = read_json(path)
    return {key: record.get(key) for key in IDENTITY} if isinstance(record, dict) else {}


def _difference(old: Any, new: Any, name: str = "") -> Optional[str]:
    """The first difference between two JSON values, in words; None if they are equal."""
    if isinstance(old, dict) and isinstance(new, dict):
        keys = sorted(set(old) | set(new))
        differences = (_difference(old.get(key), new.get(key), (name + "." + key).lstrip(".")) for key in keys)
        return next(filter(None, differences), None)
    if old == new:
        return None
    return "%s was %s and is now %s" % (name, json.dumps(old, ensure_ascii=False), json.dumps(new, ensure_ascii=False))


def write_manifest(
    stage: str, out: str, options: Dict[str, Any], inputs: Dict[str, Any], files: Dict[str, Any], **more: Any
) -> None:
    """Finish a run: ``manifest.json`` with options, inputs, versions, counts and every file's size and SHA-256.

    ``files``: path relative to ``out`` → the result of ``describe``, with the stage's own counts. ``more``: the stage's
    own sections (``counts``, ``dropped``, ``versions``). There are no times: the same input gives the same bytes.
    """
    _remove_partial(out, storage.names(out))
    manifest = dict(more, stage=stage, version=VERSION, options=options, inputs=inputs, files=files)
    write_json(storage.join(out, MANIFEST), manifest)
    storage.remove(storage.join(out, RUN))
    lock.release(out)


def read_manifest(folder: str, stage: str) -> Dict[str, Any]:
    """The manifest of ``stage`` in ``folder``. ``Refusal``, with the command that writes it, if it is missing."""
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
    for name, entry in files.items():
        fault = _fault(folder, name, entry)
        if fault:
            raise Refusal("%s is not a manifest of %s: file %s %s" % (path, stage, json.dumps(name), fault))
    return manifest


def _fault(folder: str, name: str, entry: Any) -> Optional[str]:
    """The fault of a file in a manifest: it must lie below the folder, not by a link, and have a size and SHA-256."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return "has no name"
    if storage.leads_out(name):
        return "has a name that leads out of the folder"
    if not storage.remote(folder) and storage.link_leads_out(folder, name):
        return "is a link that leads out of the folder"
    if not isinstance(entry, dict) or not isinstance(entry.get("sha256"), str):
        return "has no SHA-256"
    return None if is_count(entry.get("bytes")) else "has no size"


def is_count(value: Any) -> bool:
    """Whether a JSON value is a whole number of 0 or more."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0
