"""make upload and make download: a run's folders in a bucket and back, each file once, and nothing else."""

import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from stages.handover import cloud_storage, storage
from tests.emulator import BUCKET, FORBIDDEN, PASSING, UNAVAILABLE, Proxy

ROOT = Path(__file__).resolve().parents[2]
MARKER = "a-secret-that-must-not-be-seen"


@pytest.fixture(autouse=True)
def fresh_client(bucket: Proxy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STORAGE_PATIENCE", "30")
    cloud_storage._client_of.cache_clear()


@pytest.fixture
def place(request: pytest.FixtureRequest) -> str:
    """WORK_DIR of the test's own."""
    return f"gs://{BUCKET}/transfer/{request.node.name}"


def make(direction: str, code: int = 0, **variables: object) -> subprocess.CompletedProcess[str]:
    """`make upload` or `make download` in the virtual environment."""
    done = subprocess.run(
        ["make", "--no-print-directory", direction],
        cwd=ROOT,
        env={**os.environ, "RUNNER": "venv", **{name: str(value) for name, value in variables.items()}},
        capture_output=True,
        encoding="utf-8",
        timeout=300,
    )
    # make itself ends with 2, whatever the command ended with.
    assert (done.returncode, f"Error {code}" in done.stderr or not code) == (2 if code else 0, True), done.stderr
    assert "Traceback" not in done.stderr
    return done


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def run(tmp_path: Path, corpus: Path, vocab: Path) -> Path:
    """A run's folder: the sample's corpus and vocabularies, a checkpoint in the making, something half written."""
    data = tmp_path / "here"
    for name, source in (("corpus", corpus), ("vocab", vocab)):
        for path, content in files(source).items():
            (data / name / path).parent.mkdir(parents=True, exist_ok=True)
            (data / name / path).write_bytes(content)
    checkpoint = data / "checkpoints/character/tiny"
    checkpoint.mkdir(parents=True)
    (checkpoint / "run.json").write_text(json.dumps({"stage": "tpu-train", "options": {"steps": 5}}))
    (checkpoint / "model.ckpt-5.index").write_bytes(os.urandom(1000))
    (checkpoint / ".model.ckpt-6.index.1234.partial").write_text("half")
    (checkpoint / ".lock").write_text("process 1\n")
    return data


def test_there_and_back_through_a_bad_network_is_every_byte(
    run: Path, tmp_path: Path, place: str, bucket: Proxy
) -> None:
    variables: dict[str, Any] = {"WORK_DIR": place, "MODELS": tmp_path / "models"}
    whole = {name: content for name, content in files(run).items() if "/." not in name}
    shown = make("upload", DATA=run, DRY_RUN=1, **variables)
    assert storage.files_below(place) == {}
    for name, content in whole.items():
        assert f"{len(content):>15,}  {run / name} → {place}/{name}\n" in shown.stdout
    assert len(shown.stdout.splitlines()) == len(whole)
    bucket.every(6)
    done = make("upload", DATA=run, **variables)
    assert f"copied {len(whole)} files" in done.stderr
    assert set(bucket.injected) == set(PASSING)
    bucket.calm()
    assert storage.files_below(place) == {name: len(content) for name, content in sorted(whole.items())}
    before = cloud_storage.objects_below(place)
    told = make("upload", DATA=run, **variables).stderr
    assert f"copied 0 files, 0.0 MB; {len(whole)} files are there already" in told
    assert cloud_storage.objects_below(place) == before, "a repeated upload changes nothing, generations neither"
    bucket.every(6)
    make("download", DATA=tmp_path / "there", **variables)
    bucket.calm()
    assert files(tmp_path / "there") == whole
    # One that differs is copied again, and no other.
    (tmp_path / "there/corpus/corpus_00001.txt").write_text("damaged")
    assert "copied 1 files" in make("download", DATA=tmp_path / "there", **variables).stderr
    assert files(tmp_path / "there") == whole


def test_a_part_of_a_run(run: Path, tmp_path: Path, place: str) -> None:
    variables: dict[str, Any] = {"WORK_DIR": place, "DATA": run, "MODELS": tmp_path / "models"}
    make("upload", STAGE="vocab", **variables)
    assert storage.names(place) == ["vocab/"]
    make("upload", MODEL="character", SIZE="tiny", **variables)
    assert storage.names(place) == ["checkpoints/", "vocab/"]
    (tmp_path / "models/character/tiny").mkdir(parents=True)
    (tmp_path / "models/character/tiny/config.json").write_text("{}")
    make("upload", STAGE="convert", **variables)
    assert storage.files_below(f"{place}/models") == {"character/tiny/config.json": 2}


def test_ctrl_c_ends_it_soon_and_the_same_command_goes_on(run: Path, place: str, tmp_path: Path, bucket: Proxy) -> None:
    """In the midst of large files on a service that does not answer well any more."""
    for number in range(12):
        (run / f"checkpoints/character/tiny/large-{number:02d}").write_bytes(os.urandom(9_000_000))
    command = [
        sys.executable,
        "-m",
        "stages.handover.transfer",
        "--copy",
        str(run / "checkpoints"),
        f"{place}/checkpoints",
    ]
    sent: list[str] = []

    def ill(method: str, address: str) -> str | None:
        sent.extend([address] if method == "PUT" else [])
        return UNAVAILABLE if method == "PUT" and len(sent) > 3 else None

    bucket.fault = ill
    with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, encoding="utf-8") as process:
        while bucket.injected.get(UNAVAILABLE, 0) < 8:
            assert process.poll() is None
            time.sleep(0.05)
        start = time.monotonic()
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=60)
    assert time.monotonic() - start < 12
    assert process.returncode == 130
    assert said.splitlines()[-1] == "transfer: interrupted; the same command resumes"
    bucket.calm()
    made = make("upload", WORK_DIR=place, DATA=run, MODELS=tmp_path / "models", STAGE="tpu-train")
    assert "copied 11 files, 81.0 MB; 3 files are there already" in made.stderr
    for name, size in storage.files_below(f"{place}/checkpoints").items():
        assert (run / "checkpoints" / name).stat().st_size == size
    assert len(storage.files_below(f"{place}/checkpoints")) == 14


@pytest.mark.parametrize(
    ("direction", "variables", "words"),
    [
        ("upload", {}, "say where in a bucket: make upload WORK_DIR=gs://bucket/prefix"),
        ("upload", {"WORK_DIR": "data"}, "say where in a bucket"),
        ("upload", {"WORK_DIR": "gs://b/x", "DATA": "gs://b/y"}, "DATA=gs://b/y is no folder of this machine"),
        ("upload", {"WORK_DIR": "gs://b/x", "DATA": "/nowhere", "MODELS": "/nowhere"}, "there is nothing to upload"),
        ("upload", {"WORK_DIR": "gs://b/x", "DATA": "/nowhere", "STAGE": "corpus"}, "there is no /nowhere/corpus"),
        ("download", {"WORK_DIR": "gs://b/x", "STAGE": "words"}, "STAGE=words is none of corpus, vocab, tfrecords"),
        ("download", {"WORK_DIR": "gs://no-such-bucket/x", "STAGE": "vocab"}, "there is no bucket gs://no-such-bucket"),
        ("download", {"WORK_DIR": f"gs://{BUCKET}/nothing", "STAGE": "vocab"}, "there is nothing to copy in gs://"),
    ],
)
def test_refusals(tmp_path: Path, direction: str, variables: dict[str, str], words: str) -> None:
    folders: dict[str, Any] = {"DATA": tmp_path / "data", "MODELS": tmp_path / "models"}
    told = make(direction, code=2, **{**folders, **variables}).stderr
    assert words in told
    assert [line for line in told.splitlines() if "error: " in line and words in line]


def test_another_run_is_not_mixed_with_the_one_that_is_there(run: Path, tmp_path: Path, place: str) -> None:
    variables: dict[str, Any] = {"WORK_DIR": place, "DATA": run, "MODELS": tmp_path / "models", "STAGE": "vocab"}
    make("upload", **variables)
    before = cloud_storage.objects_below(place)
    manifest = run / "vocab/manifest.json"
    changed = json.loads(manifest.read_text())
    changed["options"]["seed"] += 1
    manifest.write_text(json.dumps(changed))
    told = make("upload", code=2, **variables).stderr
    assert f"{place}/vocab comes from another run than {run}/vocab (its options differ)" in told
    assert f"{run}/vocab comes from another run than {place}/vocab" in make("download", code=2, **variables).stderr
    assert cloud_storage.objects_below(place) == before
    assert json.loads(manifest.read_text()) == changed


def test_a_folder_that_is_being_written_is_left_alone(run: Path, place: str, tmp_path: Path) -> None:
    make("upload", WORK_DIR=place, DATA=run, MODELS=tmp_path / "models", STAGE="vocab")
    (tmp_path / "there/vocab").mkdir(parents=True)
    with open(tmp_path / "there/vocab/.lock", "w") as owned:
        fcntl.flock(owned, fcntl.LOCK_EX)
        owned.write("process 5 on another\n")
        owned.flush()
        told = make("download", code=75, WORK_DIR=place, DATA=tmp_path / "there", STAGE="vocab").stderr
    assert "is being written by process 5 on another; wait for its end" in told
    assert os.listdir(tmp_path / "there/vocab") == [".lock"]


def test_what_leads_out_of_its_folder_is_refused(run: Path, place: str, tmp_path: Path) -> None:
    """An object's name may hold anything; a file of a run may be a link."""
    (tmp_path / "bad").write_text("escaped")
    blob = cloud_storage._client().bucket(BUCKET).blob(f"{place.partition(BUCKET + '/')[2]}/vocab/../../escaped")
    blob.upload_from_filename(tmp_path / "bad")
    told = make("download", code=2, WORK_DIR=place, DATA=tmp_path / "there/data", STAGE="vocab").stderr
    assert "names a file outside of its folder: '../../escaped'" in told
    assert not list(tmp_path.rglob("escaped"))
    (run / "vocab/passwd").symlink_to("/etc/passwd")
    told = make("upload", code=2, WORK_DIR=place, DATA=run, MODELS=tmp_path / "models", STAGE="vocab").stderr
    assert f"{run}/vocab/passwd is a link that leads out of {run}/vocab" in told


def test_missing_rights_are_one_line_and_no_credential_is_told(
    run: Path, place: str, tmp_path: Path, bucket: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    variables: dict[str, Any] = {"WORK_DIR": place, "DATA": run, "MODELS": tmp_path / "models", "STAGE": "vocab"}
    bucket.fault = lambda method, address: FORBIDDEN if method == "POST" else None
    told = make("upload", code=2, **variables).stderr
    assert "have no right to write there; give the account the role Storage Object User" in told
    bucket.calm()
    assert storage.files_below(place) == {}
    key = tmp_path / "key.json"
    key.write_text(json.dumps({"type": "service_account", "private_key": MARKER, "client_email": "x@y"}))
    monkeypatch.delenv("STORAGE_EMULATOR_HOST")
    told = make("upload", code=2, GOOGLE_APPLICATION_CREDENTIALS=key, **variables).stderr
    assert "credentials" in told
    assert MARKER not in told


def test_the_copying_command_itself() -> None:
    """What `make` cannot be made to say."""
    for pairs in (["--copy", "a", "b"], ["--copy", "a", "gs://b/c", "--copy", "gs://b/c", "a"]):
        done = subprocess.run(
            [ROOT / ".venv/corpus/bin/python", "-m", "stages.handover.transfer", *pairs],
            cwd=ROOT, capture_output=True, encoding="utf-8",
        )  # fmt: skip
        assert done.returncode == 2
        assert "--copy takes a folder of this machine and one at gs://…" in done.stderr
