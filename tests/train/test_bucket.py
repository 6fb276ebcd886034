"""Training, conversion and evaluation on gs://, killed and gone on with, where every 40th request goes wrong."""

import json
import subprocess
import time
from pathlib import Path

from stages.handover import cloud_storage, storage
from tests.conftest import ROOT, Run, stage_command
from tests.emulator import BUCKET, Proxy
from tests.evaluate.conftest import LIMITS, STAGE
from tests.train.conftest import Program
from tests.train.test_command import STEPS, inputs, rows_of, whole  # noqa: F401 - fixtures

FOLDER = f"gs://{BUCKET}/train"


def text(path: str) -> str:
    """A file's."""
    with storage.reading(path) as stream:
        return stream.read().decode()


def test_a_killed_run_on_a_bucket_gives_the_model_of_a_local_one(
    whole: Path,  # noqa: F811
    inputs: list[object],  # noqa: F811
    run_stage: Run,
    train_python: Program,
    bucket: Proxy,
    vocab: Path,
) -> None:
    cloud_storage._client_of.cache_clear()
    given = Path(str(inputs[1]))
    for path in [*given.iterdir(), Path(str(inputs[3])), vocab / "character" / "vocab.txt"]:
        cloud_storage.upload(str(path), f"{FOLDER}/{given.name if path.parent == given else 'given'}/{path.name}")
    tfrecords, config, vocabulary = (
        f"{FOLDER}/{given.name}", f"{FOLDER}/given/config.json", f"{FOLDER}/given/vocab.txt",
    )  # fmt: skip
    named = {str(inputs[1]): tfrecords, str(inputs[3]): config, str(vocab / "character" / "vocab.txt"): vocabulary}
    flags = [*(named.get(str(word), word) for word in inputs), "--out", f"{FOLDER}/out"]
    first = f"{FOLDER}/out/step-00000008/state.json"
    with subprocess.Popen(
        [*stage_command("train"), *map(str, flags)], cwd=ROOT, stderr=subprocess.PIPE, encoding="utf-8"
    ) as process:
        deadline = time.monotonic() + 120
        while not storage.exists(first):
            assert process.poll() is None, process.communicate()[1]
            assert time.monotonic() < deadline
            time.sleep(0.02)
        process.kill()
    assert not storage.exists(f"{FOLDER}/out/manifest.json")

    bucket.every(40)
    # Its lock is taken over as soon as nobody has renewed it for a while.
    run_stage("train", *flags)
    assert rows_of(text(f"{FOLDER}/out/metrics.jsonl")) == rows_of((whole / "metrics.jsonl").read_text())
    for name in ("best/model.safetensors", f"step-{STEPS:08d}/optimizer.safetensors"):
        assert storage.sha256(f"{FOLDER}/out/{name}") == storage.sha256(str(whole / name)), name

    run_stage(
        "convert", "--checkpoint", f"{FOLDER}/out/best", "--vocab", vocabulary, "--tfrecords", tfrecords,
        "--out", f"{FOLDER}/model",
    )  # fmt: skip
    train_python(
        *STAGE, "--model", f"{FOLDER}/model", "--tfrecords", tfrecords, "--out", f"{FOLDER}/evaluation", *LIMITS
    )
    bucket.calm()
    assert sum(bucket.injected.values()) > 5
    found = json.loads(text(f"{FOLDER}/evaluation/evaluation.json"))
    assert found["masked_lm"][0]["masked_tokens"] > 50
    assert "</html>" in text(f"{FOLDER}/evaluation/report.html")
