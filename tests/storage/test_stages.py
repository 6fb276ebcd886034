"""The stages' real commands on gs://, where every 40th request goes wrong; the lock of a folder there."""

import subprocess
import sys
import time
from pathlib import Path

import pytest

from stages.handover import cloud_storage, storage
from tests.conftest import ROOT, SAMPLE, Run, stage_command
from tests.convert.conftest import checkpoints  # noqa: F401 - a fixture
from tests.emulator import BUCKET, FORBIDDEN, PASSING, Proxy

TFRECORDS = ("--seq-length", 64, "--dupe-factor", 2)


@pytest.fixture(autouse=True)
def fresh_client(bucket: Proxy) -> None:
    cloud_storage._client_of.cache_clear()


@pytest.fixture
def folder(request: pytest.FixtureRequest) -> str:
    return f"gs://{BUCKET}/{request.node.name}"


def hashes(folder: str) -> dict[str, str]:
    """SHA-256 of every file in and below a folder."""
    return {name: storage.sha256(storage.join(folder, name)) for name in storage.files_below(folder)}


def test_the_flow_on_a_bucket_makes_the_bytes_of_a_local_one(
    run_stage: Run,
    corpus: Path,
    vocab: Path,
    checkpoints: Path,  # noqa: F811
    bucket: Proxy,
    folder: str,
    tmp_path: Path,
) -> None:
    run_stage("tfrecords", "--corpus", corpus, "--vocab", vocab, "--out", tmp_path / "tfrecords", *TFRECORDS)
    model = ("--config", checkpoints / "plain.json", "--vocab", checkpoints / "vocab.txt")
    run_stage("convert", "--checkpoint", checkpoints / "plain", *model, "--out", tmp_path / "model")

    for path in (SAMPLE, *checkpoints.iterdir()):
        if path.is_file():
            cloud_storage.upload(str(path), f"{folder}/given/{path.name}")
    bucket.every(40)
    given = f"{folder}/given"
    run_stage(
        "corpus", "--dump", f"{given}/{SAMPLE.name}", "--out", f"{folder}/corpus", "--shards", 3, "--jobs", 2
    )  # fmt: skip
    sizes = ("--vocab-size", 3000, "--alphabet-size", 1200)
    run_stage("vocab", "--corpus", f"{folder}/corpus", "--out", f"{folder}/vocab", *sizes)
    run_stage(
        "tfrecords", "--corpus", f"{folder}/corpus", "--vocab", f"{folder}/vocab", "--out", f"{folder}/tfrecords",
        "--jobs", 2, *TFRECORDS,
    )  # fmt: skip
    run_stage(
        "convert", "--checkpoint", f"{given}/plain", "--config", f"{given}/plain.json",
        "--vocab", f"{given}/vocab.txt", "--out", f"{folder}/model",
    )  # fmt: skip
    line = run_stage("tokenizer", "tokenize", "--model", f"{folder}/model", stdin="日本の首都\n").stdout
    bucket.calm()
    assert line == run_stage("tokenizer", "tokenize", "--model", tmp_path / "model", stdin="日本の首都\n").stdout
    for name, local in (("corpus", corpus), ("vocab", vocab), ("tfrecords", tmp_path / "tfrecords")):
        assert hashes(f"{folder}/{name}") == hashes(str(local)), name
    assert hashes(f"{folder}/model") == hashes(str(tmp_path / "model"))
    assert set(bucket.injected) == set(PASSING), "every fault has occurred"

    before = storage.files_below(folder)
    done = run_stage("corpus", "--dump", f"{given}/{SAMPLE.name}", "--out", f"{folder}/corpus", "--shards", 3)
    assert "finished already" in done.stderr
    refused = run_stage(
        "corpus", "--dump", f"{given}/{SAMPLE.name}", "--out", f"{folder}/corpus", "--shards", 4, code=2
    )
    assert "was made with other options or inputs: options.shards was 3 and is now 4" in refused.stderr
    assert storage.files_below(folder) == before


def test_a_killed_run_on_a_bucket_goes_on(
    run_stage: Run, corpus: Path, vocab: Path, folder: str, bucket: Proxy, tmp_path: Path
) -> None:
    """Killed when one file is there: its lock is taken over when nobody renews it, and that file is left alone."""
    flags = ("--corpus", corpus, "--vocab", vocab, "--model", "character", *TFRECORDS)
    run_stage("tfrecords", *flags, "--out", tmp_path / "local")
    out = f"{folder}/character"
    first = f"{out}/.pretrain_00000.tfrecord.gz.json"
    command = [*stage_command("tfrecords"), *map(str, flags), "--out", folder, "--jobs", "1"]
    bucket.fault = lambda method, path: "slow" if "upload" in path else None
    with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.DEVNULL) as process:
        while not storage.exists(first):
            assert process.poll() is None
            time.sleep(0.02)
        process.kill()
    bucket.calm()
    assert ".lock" in storage.names(out)
    assert "manifest.json" not in storage.names(out)
    before = cloud_storage.stat(f"{out}/pretrain_00000.tfrecord.gz")
    second = run_stage("tfrecords", *flags, "--out", folder)
    assert "is locked by process" in second.stderr
    assert cloud_storage.stat(f"{out}/pretrain_00000.tfrecord.gz") == before
    assert hashes(out) == hashes(str(tmp_path / "local" / "character"))


def test_two_runs_into_one_prefix(folder: str, bucket: Proxy) -> None:
    program = (
        "import sys; from stages.handover.manifests import claim\n"
        f"claim('vocab', {folder!r}, {{}}, {{}}); print('claimed', flush=True); sys.stdin.read()"
    )
    second = (
        "import sys; from stages.command.running import run; from stages.handover.manifests import claim\n"
        f"sys.exit(run('vocab', lambda arguments: print(claim('vocab', {folder!r}, {{}}, {{}}))))"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT
    ) as first:  # fmt: skip
        assert first.stdout
        assert first.stdin
        assert first.stdout.readline() == b"claimed\n"
        done = subprocess.run(
            [sys.executable, "-c", second], capture_output=True, encoding="utf-8", cwd=ROOT, timeout=60
        )
        assert done.returncode == 75
        assert f"{folder} is being written by process {first.pid} on " in done.stderr
        first.stdin.close()
        assert first.wait(30) == 0


@pytest.mark.parametrize("what", ["rights", "bucket", "service"])
def test_one_clear_line(run_stage: Run, corpus: Path, folder: str, bucket: Proxy, what: str) -> None:
    env, out, code = {"STORAGE_PATIENCE": "1"}, folder, 2
    said = "there is no bucket gs://none-such"
    if what == "rights":
        bucket.fault = lambda method, path: FORBIDDEN if method in ("POST", "PUT") else None
        said = "have no right to write there"
    elif what == "bucket":
        out = "gs://none-such/vocab"
    else:
        env["STORAGE_EMULATOR_HOST"] = "127.0.0.1:1"
        code, said = 75, "does not answer as it should"
    done = run_stage("vocab", "--corpus", corpus, "--out", out, code=code, env=env)
    assert said in done.stderr
    assert len([line for line in done.stderr.splitlines() if "error" in line]) == 1
    assert "Traceback" not in done.stderr
