"""A disk that is full, one that cannot be written to, and folders without rights: one line, and no half file."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.torture.faults import small_disk
from tests.torture.flow import Flow
from tests.torture.runs import ROOT, Ended, compare, files, finish, python, refused, run

STAGES = ["corpus", "corpus of bzip2", "vocab", "tfrecords"]
ROOM = {"corpus": 200_000, "corpus of bzip2": 200_000, "vocab": 16_384, "tfrecords": 400_000}


def finals(folder: Path) -> set[str]:
    """The names of the files that have their final ones."""
    return {name for name in files(folder) if not any(part.startswith(".") for part in name.split("/"))}


@pytest.mark.parametrize("name", STAGES)
def test_a_full_disk_is_told_and_the_run_goes_on_when_there_is_room(flow: Flow, tmp_path: Path, name: str) -> None:
    command, clean = flow.commands[name], flow.clean(name)
    with small_disk(tmp_path / "disk", ROOM[name]) as grow:
        if grow is None:
            pytest.skip("this user may not mount a small disk; the limit on file sizes is tested below")
        out = tmp_path / "disk" / "out"
        ended = run(command.stage, command.line(out))
        refused(ended, 75, f"cannot write to {out}", "No space left on device; make room")
        assert not {name for name in finals(out) if name.endswith("manifest.json")}
        # What has a name is whole.
        whole = {name: digest for name, digest in files(out).items() if name in finals(out) and "run.json" not in name}
        assert whole.items() <= clean.files.items()
        grow(1 << 26)
        finish(command.stage, command.line(out))
        compare(out, clean.files, clean.out)


@pytest.mark.parametrize("name", STAGES)
def test_a_limit_on_file_sizes_is_told_likewise(flow: Flow, out: Path, name: str) -> None:
    command, clean = flow.commands[name], flow.clean(name)
    limit = max((clean.out / file).stat().st_size for file in clean.files) // 2
    refused(run(command.stage, command.line(out), file_size=limit), 75, f"cannot write to {out}", "File too large")
    finish(command.stage, command.line(out))
    compare(out, clean.files, clean.out)


# Rights do not count for root, but for root without capabilities.
RIGHTS_COUNT = [] if os.getuid() else ["setpriv", "--bounding-set=-all", "--inh-caps=-all"]


def with_rights(stage: str, arguments: list[object]) -> Ended:
    """Run a command as somebody for whom rights count."""
    if RIGHTS_COUNT and not shutil.which(RIGHTS_COUNT[0]):
        pytest.skip("setpriv is missing, and rights do not count for root")
    command = [*RIGHTS_COUNT, str(python(stage)), "-m", f"stages.{stage}", *map(str, arguments)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, encoding="utf-8", timeout=120)
    return Ended(done.returncode, done.stderr)


@pytest.mark.parametrize("name", STAGES)
def test_a_folder_that_may_not_be_written_to_is_one_line(flow: Flow, tmp_path: Path, name: str) -> None:
    flow.clean(name)
    command, locked = flow.commands[name], tmp_path / "locked"
    locked.mkdir(mode=0o555)
    arguments = command.line(locked / "out")
    refused(with_rights(command.stage, arguments), 2, f"cannot write to {locked}/out", "Permission denied")
    # One that is there.
    (locked / "out").mkdir(mode=0o555)
    refused(with_rights(command.stage, arguments), 2, f"cannot write to {locked}/out", "Permission denied")


@pytest.mark.parametrize("name", STAGES)
def test_a_disk_that_is_read_only_is_one_line(flow: Flow, tmp_path: Path, name: str) -> None:
    command = flow.commands[name]
    flow.clean(name)
    with small_disk(tmp_path / "disk", 1 << 20) as grow:
        if grow is None:
            pytest.skip("this user may not mount a disk")
        subprocess.run(["mount", "-o", "remount,ro", tmp_path / "disk"], check=True)
        ended = run(command.stage, command.line(tmp_path / "disk" / "out"))
        refused(ended, 2, f"cannot write to {tmp_path / 'disk' / 'out'}", "Read-only file system")


@pytest.mark.parametrize("name", ["corpus", "vocab", "tfrecords"])
def test_an_input_that_may_not_be_read_is_one_line(flow: Flow, out: Path, name: str) -> None:
    command, clean = flow.commands[name], flow.clean(name)
    hidden = flow.dump if name == "corpus" else flow.clean("corpus").out / "corpus_00003.txt"
    before = hidden.stat().st_mode
    hidden.chmod(0)
    try:
        refused(with_rights(command.stage, command.line(out)), 2, f"cannot read {hidden}", "Permission denied")
    finally:
        hidden.chmod(before)
    finish(command.stage, command.line(out))
    compare(out, clean.files, clean.out)
