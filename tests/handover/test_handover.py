"""Whole files, claims, manifests, exit codes."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from stages.command.progress import Progress, duration
from stages.command.refusal import Refusal, Retryable
from stages.command.running import run
from stages.formats.corpus import documents
from stages.handover import manifests
from stages.handover.manifests import claim, read_manifest, write_manifest
from stages.handover.storage import describe, whole_file


def test_a_file_has_its_name_only_when_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "shard.txt"

    def write_half() -> None:
        with whole_file(str(path), "w") as stream:
            stream.write("half")
            stream.flush()
            assert not path.exists()
            raise RuntimeError

    with pytest.raises(RuntimeError):
        write_half()
    assert list(tmp_path.iterdir()) == []
    with whole_file(str(path), "w") as stream:
        stream.write("一行\n")
    assert path.read_bytes() == "一行\n".encode()
    assert [p.name for p in tmp_path.iterdir()] == ["shard.txt"]


def test_a_folder_belongs_to_one_run(tmp_path: Path) -> None:
    out = str(tmp_path / "out")
    assert not claim("vocab", out, {"seed": 1}, {"corpus": "a"})
    assert not claim("vocab", out, {"seed": 1}, {"corpus": "a"}), "a killed run goes on"
    with pytest.raises(Refusal, match=r"options\.seed was 1 and is now 2"):
        claim("vocab", out, {"seed": 2}, {"corpus": "a"})
    write_manifest("vocab", out, {"seed": 1}, {"corpus": "a"}, {}, counts={"words": 3})
    assert [p.name for p in Path(out).iterdir()] == ["manifest.json"]
    assert claim("vocab", out, {"seed": 1}, {"corpus": "a"}), "a finished run is finished"
    with pytest.raises(Refusal, match=r"inputs\.corpus was"):
        claim("vocab", out, {"seed": 1}, {"corpus": "b"})


def test_a_folder_belongs_to_one_process_at_a_time(tmp_path: Path) -> None:
    out = str(tmp_path / "out")
    program = (
        "import sys; from stages.handover.manifests import claim\n"
        f"claim('vocab', {out!r}, {{}}, {{}}); print('claimed', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as first:
        assert first.stdout
        assert first.stdin
        assert first.stdout.readline() == b"claimed\n"
        Path(out, ".shard.txt.3f.partial").write_text("of the first one")
        with pytest.raises(Retryable, match=rf"out is being written by process {first.pid} on .+; wait for its end"):
            claim("vocab", out, {}, {})
        assert sorted(os.listdir(out)) == [".lock", ".shard.txt.3f.partial", "run.json"]
        first.kill()
    assert not claim("vocab", out, {}, {}), "the lock goes with the process that held it"
    assert sorted(os.listdir(out)) == [".lock", "run.json"], "what it left half written is removed"
    write_manifest("vocab", out, {}, {}, {})
    assert os.listdir(out) == ["manifest.json"]


def test_a_folder_with_other_files_is_not_taken(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("…")
    with pytest.raises(Refusal, match=r"thesis\.tex"):
        claim("corpus", str(tmp_path), {}, {})
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_manifest_says_who_wrote_it(tmp_path: Path) -> None:
    with pytest.raises(Refusal, match="make corpus"):
        read_manifest(str(tmp_path / "nothing"), "corpus")
    with pytest.raises(Refusal, match="was not written by corpus"):
        read_manifest(str(tmp_path), "corpus")
    claim("corpus", str(tmp_path), {}, {})
    with pytest.raises(Refusal, match="is not finished"):
        read_manifest(str(tmp_path), "corpus")
    write_manifest("corpus", str(tmp_path), {}, {}, {})
    assert read_manifest(str(tmp_path), "corpus")["files"] == {}
    with pytest.raises(Refusal, match="not a manifest of vocab"):
        read_manifest(str(tmp_path), "vocab")


@pytest.mark.parametrize(
    ("content", "said"), [(b"\xff{}", "not UTF-8"), (b"{", "is not JSON"), (b"[1]", "not a manifest of corpus")]
)
def test_a_damaged_manifest_is_named(tmp_path: Path, content: bytes, said: str) -> None:
    (tmp_path / "manifest.json").write_bytes(content)
    with pytest.raises(Refusal, match=said) as refusal:
        read_manifest(str(tmp_path), "corpus")
    assert "manifest.json" in str(refusal.value)


def test_documents_of_a_shard(tmp_path: Path) -> None:
    shard = tmp_path / "corpus_00000.txt"
    shard.write_text("一つ目の文。\n二つ目の文。\n\n次の記事。\n\n", encoding="utf-8")
    described = describe(str(shard))
    assert list(documents(str(tmp_path), shard.name, described)) == [["一つ目の文。", "二つ目の文。"], ["次の記事。"]]
    shard.write_text("別の文。\n\n", encoding="utf-8")
    with pytest.raises(Refusal, match=r"corpus_00000\.txt is not what make corpus wrote"):
        list(documents(str(tmp_path), shard.name, described))


def test_exit_codes(capfd: pytest.CaptureFixture[str]) -> None:
    def refuse(arguments: list[str]) -> None:
        raise Refusal("no file x; make one")

    before = signal.getsignal(signal.SIGTERM)
    try:
        assert run("corpus", lambda arguments: None, []) == 0
        assert run("corpus", refuse, []) == 2
        with pytest.raises(ZeroDivisionError):
            run("corpus", lambda arguments: 1 / 0, [])  # type: ignore[arg-type]
    finally:
        signal.signal(signal.SIGTERM, before)
    assert capfd.readouterr().err == "corpus: error: no file x; make one\n"


def test_work_is_done_though_nobody_reads_standard_error(tmp_path: Path) -> None:
    """As in `make corpus 2>&1 | head -1`."""
    program = """
import pathlib, sys
from stages.command.running import run
def main(arguments):
    for _ in range(3):
        print("a line", file=sys.stderr, flush=True)
    pathlib.Path(arguments[0]).touch()
sys.exit(run("corpus", main))
"""
    command = [sys.executable, "-c", program, str(tmp_path / "done")]
    with subprocess.Popen(command, cwd=Path(__file__).resolve().parents[2], stderr=subprocess.PIPE) as process:
        assert process.stderr is not None
        process.stderr.close()
    assert process.returncode == 0
    assert (tmp_path / "done").exists()


@pytest.mark.parametrize(
    ("seconds", "said"), [(0.42, "0.4 s"), (42, "42 s"), (185, "3 min 05 s"), (7620, "2 h 07 min")]
)
def test_durations(seconds: float, said: str) -> None:
    assert duration(seconds) == said


def test_progress_shows_rate_and_time_left(capfd: pytest.CaptureFixture[str]) -> None:
    progress = Progress("vocab", "sentences", 100)
    progress.start -= 10
    progress.last -= 10
    progress.add(50, "7 words")
    progress.close()
    middle, end = capfd.readouterr().err.splitlines()
    assert middle == "vocab: 50 of 100 (50 %) sentences, 5.0/s, 10 s left, 7 words"
    assert end == "vocab: 50 sentences, 5.0/s, in 10 s"


def test_the_manifest_is_the_same_every_time(tmp_path: Path) -> None:
    for name in "ab":
        (tmp_path / name).mkdir()
        write_manifest("vocab", str(tmp_path / name), {"seed": 1}, {}, {"x": {"bytes": 1}}, counts={"b": 1, "a": 2})
    assert (tmp_path / "a/manifest.json").read_bytes() == (tmp_path / "b/manifest.json").read_bytes()
    assert json.loads((tmp_path / "a/manifest.json").read_text())["version"] == manifests.VERSION
