"""Folders on this machine: nothing of Cloud Storage is loaded for them, and links and names stay inside."""

import os
import subprocess
from pathlib import Path

import pytest

from stages.handover import storage
from tests.conftest import ROOT, SAMPLE, stage_command

# Google's client and what it brings; protobuf, which other packages bring too, is none of them.
CLIENT = ("google.cloud", "google.auth", "google.api_core", "requests", "urllib3", "stages.handover.cloud_storage")


@pytest.mark.parametrize("stage", ["corpus", "vocab", "tfrecords", "tpu-train", "train", "convert", "tokenizer"])
def test_a_run_on_this_machine_loads_no_client(stage: str, corpus: Path, vocab: Path, tmp_path: Path) -> None:
    """It would take a second of every start."""
    arguments: dict[str, list[object]] = {
        "corpus": ["--dump", SAMPLE, "--out", tmp_path / "out", "--shards", 2, "--jobs", 1],
        "vocab": ["--corpus", corpus, "--out", tmp_path / "out", "--vocab-size", 3000, "--alphabet-size", 1200],
        "tfrecords": [
            *("--corpus", corpus, "--vocab", vocab, "--out", tmp_path / "out", "--model", "character"),
            *("--dupe-factor", 1, "--seq-length", 32, "--jobs", 1),
        ],
    }
    python, *module = stage_command(stage)
    words = [python, "-X", "importtime", *module, *map(str, arguments.get(stage, ["--help"]))]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, encoding="utf-8", check=True)
    loaded = [line.rpartition("|")[2].strip() for line in done.stderr.splitlines() if "import time:" in line]
    assert "stages.command.running" in loaded
    assert not [name for name in loaded if name.startswith(CLIENT)]


def test_the_same_names_work_on_this_machine(tmp_path: Path) -> None:
    folder = str(tmp_path / "folder")
    assert storage.names(folder) == []
    assert not storage.is_folder(folder)
    storage.make_folder(storage.join(folder, "below"))
    with storage.whole_file(storage.join(folder, "below", "file.txt"), "w") as stream:
        stream.write("一\n")
        assert storage.files_below(folder).keys() != {"below/file.txt"}, "no name before it is whole"
    assert storage.names(folder) == ["below/"]
    assert storage.files_below(folder) == {"below/file.txt": 4}
    with storage.reading(storage.join(folder, "below/file.txt")) as read:
        assert read.read() == "一\n".encode()
    with storage.fetched(storage.join(folder, "below/file.txt")) as same:
        assert same == os.path.join(folder, "below/file.txt")
    storage.remove_all(folder, ["below/file.txt", "never there"])
    assert storage.files_below(folder) == {}


@pytest.mark.parametrize("name", ["../x", "a/../../x", "/etc/passwd", "a//b", ".", "a/./b", "", "a\\b", "a\0b"])
def test_a_name_that_leads_out_of_its_folder(name: str) -> None:
    assert storage.leads_out(name)
    assert not storage.leads_out("a/b..c/.d")
