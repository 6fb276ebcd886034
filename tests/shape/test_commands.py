"""make's variables become the options of the stages, in an environment and in a container alike."""

import json
import os
import shlex
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from scripts import containers
from stages.command.refusal import Refusal
from stages.pipeline import STAGES, VARIABLES, variables

ROOT = Path(__file__).resolve().parents[2]
SAMPLE = "scripts/sample/jasample-cirrussearch-content.json"
# Variables of the make that runs the tests must not leak in.
CLEAN = {"PATH": os.environ["PATH"]}
CHARACTER = {"MODEL": "character", "SIZE": "tiny"}


def shown(stage: str, variables: Mapping[str, object], code: int = 0) -> str:
    """What `scripts.run --print` says with nothing but these variables set."""
    done = subprocess.run(
        [sys.executable, "-m", "scripts.run", "--print", stage],
        cwd=ROOT,
        env={**CLEAN, "RUNNER": "venv", **{name: str(value) for name, value in variables.items()}},
        capture_output=True,
        encoding="utf-8",
    )
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    return done.stderr if code else done.stdout


@pytest.mark.parametrize(
    ("stage", "given", "paths"),
    [
        ("corpus", {}, "dump=latest out=data/corpus downloads=data/downloads"),
        (
            "corpus",
            {"DATA": "gs://b/run/", "DUMP": "gs://b/d.json.gz"},
            "dump=gs://b/d.json.gz out=gs://b/run/corpus downloads=data/downloads",
        ),
        ("vocab", {"DATA": "d"}, "corpus=d/corpus out=d/vocab"),
        ("tfrecords", {"WORK_DIR": "w"}, "corpus=data/corpus vocab=data/vocab out=w/tfrecords"),
        (
            "tpu-train",
            {"MODEL": "wordpiece", "SIZE": "medium", "WORK_DIR": "gs://b/run/"},
            "tfrecords=gs://b/run/tfrecords/wordpiece_tinysegmenter"
            " config=stages/tpu_train/configs/wordpiece_tinysegmenter_medium.json"
            " out=gs://b/run/checkpoints/wordpiece_tinysegmenter/medium"
            " vocab=gs://b/run/vocab/wordpiece_tinysegmenter/vocab.txt",
        ),
        (
            "train",
            {**CHARACTER, "DATA": "d"},
            "tfrecords=d/tfrecords/character config=stages/tpu_train/configs/character_tiny.json"
            " out=d/runs/character/tiny",
        ),
        (
            "convert",
            {**CHARACTER, "WORK_DIR": "gs://b/run", "DATA": "/elsewhere"},
            "checkpoint=gs://b/run/checkpoints/character/tiny/model.ckpt-best"
            " vocab=/elsewhere/vocab/character/vocab.txt out=models/character/tiny"
            " tfrecords=gs://b/run/tfrecords/character",
        ),
        (
            "convert",
            {"MODEL": "wordpiece", "TRAINER": "torch", "DATA": "d", "MODELS": "m"},
            "checkpoint=d/runs/wordpiece_tinysegmenter/base/best"
            " vocab=d/vocab/wordpiece_tinysegmenter/vocab.txt out=m/wordpiece_tinysegmenter/base",
        ),
        (
            "evaluate",
            {**CHARACTER, "DATA": "/elsewhere", "COMPARE": "models/a/b"},
            "model=models/character/tiny tfrecords=/elsewhere/tfrecords/character"
            " out=/elsewhere/evaluations/character/tiny compare=models/a/b",
        ),
        (
            "finetune",
            {**CHARACTER, "TASK": "jnli", "DATASET": "tests"},
            "dataset=tests model=models/character/tiny out=data/finetuned/character/tiny/jnli",
        ),
        ("push", CHARACTER, "model=models/character/tiny"),
        ("tokenizer", {"MODELS": "gs://b/models", **CHARACTER}, "model=gs://b/models/character/tiny"),
        ("tokenizer", {"MODELS": "/nowhere"}, "model=released/character/tiny"),
        ("serve", {"MODELS": "/nowhere"}, "models=released"),
    ],
)
def test_paths_follow_from_the_variables(stage: str, given: dict[str, str], paths: str) -> None:
    assert " ".join(f"{name}={path}" for name, path in STAGES[stage].paths(given).items()) == paths


@pytest.mark.parametrize(
    ("stage", "given", "inside"),
    [
        ("vocab", {"SAMPLE": "9", "DATA": "/d", "DUMP": SAMPLE, "JOBS": ""}, {"SAMPLE": "9"}),
        ("corpus", {"DUMP": SAMPLE, "SHARDS": "8"}, {"DUMP": f"/dump/{Path(SAMPLE).name}", "SHARDS": "8"}),
        ("corpus", {}, {"DUMP": "latest"}),
        ("train", {**CHARACTER, "STEPS": "9", "WORK_DIR": "/w"}, {**CHARACTER, "STEPS": "9"}),
        # gs:// has the same name in a container, which has its other folders where it always has them.
        ("vocab", {"DATA": "gs://b/x"}, {"DATA": "gs://b/x", "WORK_DIR": "gs://b/x", "MODELS": "models"}),
        ("vocab", {"DATA": "/d", "WORK_DIR": "gs://b/x"}, {"DATA": "data", "WORK_DIR": "gs://b/x", "MODELS": "models"}),
        ("finetune", {**CHARACTER, "DATASET": "tests"}, {**CHARACTER, "DATASET": "/dataset"}),
        ("evaluate", {**CHARACTER, "COMPARE": "models/a/b"}, {**CHARACTER, "COMPARE": "models/a/b"}),
        ("push", {**CHARACTER, "REPO": "me/it", "CONFIRM": "1"}, {**CHARACTER, "REPO": "me/it", "CONFIRM": "1"}),
    ],
)
def test_a_container_gets_the_variables_of_its_stage(stage: str, given: dict[str, str], inside: dict[str, str]) -> None:
    assert containers.variables_for(STAGES[stage], given) == inside


def test_a_model_to_compare_with_is_among_those_that_a_container_sees() -> None:
    with pytest.raises(Refusal, match="COMPARE=/elsewhere is not inside MODELS=models"):
        containers.variables_for(STAGES["evaluate"], {**CHARACTER, "COMPARE": "/elsewhere"})


@pytest.mark.parametrize(
    ("stage", "given", "command"),
    [
        ("vocab", {"SAMPLE": 9}, "stages.vocab"),
        ("tfrecords", {"FLAGS": "--max-predictions 77"}, "stages.tfrecords --max-predictions 77"),
        ("convert", {"FLAGS": "--help"}, "stages.convert --help"),
        ("serve", {"FLAGS": "--help"}, "stages.serve --help"),
        ("serve", {"PORT": 8080, "ADDRESS": "::"}, "stages.serve --host :: --port 8080"),
        # Training with PyTorch ends in a model folder; FLAGS are of the training.
        (
            "train",
            {**CHARACTER, "FLAGS": "--check"},
            "stages.train --check\nTRAINER=torch stages.convert --verify",
        ),
        ("push", {**CHARACTER, "REPO": "me/it"}, "stages.convert.push"),
    ],
)
def test_a_stage_runs_by_its_module(stage: str, given: dict[str, object], command: str) -> None:
    assert shown(stage, given) == command + "\n"


@pytest.mark.parametrize(
    ("stage", "given", "words"),
    [
        ("corpus", {"DUMP": "/no/such.gz"}, ["/no/such.gz", "DUMP is a file, a folder, an address, or latest"]),
        ("vocab", {"RUNNER": "podman"}, ["RUNNER=podman is neither docker nor venv"]),
        ("vocab", {"MAKEFLAGS": "w -- VOCAB_SIZ=3000"}, ["no variable VOCAB_SIZ; did you mean VOCAB_SIZE?"]),
        ("vocab", {"MAKEFLAGS": "-- model=character"}, ["no variable model; did you mean MODEL?"]),
        ("vocab", {"FLAGS": "'a"}, ["FLAGS='a cannot be split into words"]),
        ("tpu-train", {}, ["say MODEL=wordpiece or MODEL=character"]),
        ("tpu-train", {"MODEL": "character", "SIZE": "large"}, ["SIZE=large is none of base, medium, small, tiny"]),
        ("train", {}, ["say MODEL=wordpiece or MODEL=character"]),
        ("convert", {**CHARACTER, "TRAINER": "jax"}, ["TRAINER=jax is neither torch nor tf1"]),
        ("finetune", {"MODEL": "character"}, ["finetune needs TASK and DATASET"]),
        ("finetune", {"MODEL": "character", "TASK": "jsts", "DATASET": "/nowhere"}, ["there is no /nowhere"]),
        ("push", {"MODEL": "character"}, ["push needs REPO"]),
        ("convert", {"DATA": "/nowhere"}, ["no trained base model in /nowhere", "make train or make tpu-train"]),
        ("convert", {"WORK_DIR": "gs://b/run"}, ["one model from gs://b/run: say MODEL=wordpiece or MODEL=character"]),
        ("tokenizer", {"MODELS": "gs://b/m", "MODEL": "character"}, ["which model of gs://b/m", "and SIZE"]),
        ("vocab", {"DATA": "s3://b/run"}, ["DATA=s3://b/run is neither a folder nor gs://…"]),
        ("tokenizer", {"MODELS": "/nowhere", "SIZE": "tiny"}, ["no tiny model in /nowhere; make convert makes one"]),
    ],
)
def test_a_wrong_variable_is_one_clear_line(stage: str, given: dict[str, object], words: list[str]) -> None:
    said = shown(stage, given, code=2)
    assert said.startswith(f"{stage}: error: ")
    assert said.count("\n") == 1
    for word in words:
        assert word in said


def trained(data: Path, model: str, reference: bool) -> None:
    folder = data / "checkpoints" / model / "tiny"
    folder.mkdir(parents=True)
    (folder / "model.ckpt-best.index").touch()
    if reference:
        (folder / "model.ckpt-best.reference.npz").touch()


def test_convert_takes_every_trained_model_and_makes_a_missing_reference(tmp_path: Path) -> None:
    trained(tmp_path, "wordpiece_tinysegmenter", reference=False)
    trained(tmp_path, "character", reference=True)
    commands = shown("convert", {"DATA": tmp_path, "SIZE": "tiny"}).splitlines()
    place = f"{tmp_path}/checkpoints/wordpiece_tinysegmenter/tiny/model.ckpt-best"
    config = f"{Path(place).parent}/albert_config.json"
    assert commands == [
        "MODEL=wordpiece_tinysegmenter stages.tpu_train.reference"
        f" --checkpoint {place} --config {config} --out {place}.reference.npz",
        "MODEL=wordpiece_tinysegmenter stages.convert --verify",
        "MODEL=character stages.convert --verify",
    ]
    assert "character/tiny" in shown("convert", {"DATA": tmp_path, "SIZE": "small"}, code=2)
    (tmp_path / "runs/character/small/best").mkdir(parents=True)
    assert shown("convert", {"DATA": tmp_path, "SIZE": "small"}) == "MODEL=character stages.convert --verify\n"
    with_torch = {"DATA": tmp_path, "SIZE": "small", "MODEL": "character"}
    assert STAGES["convert"].paths({k: str(v) for k, v in with_torch.items()})["checkpoint"] == (
        f"{tmp_path}/runs/character/small/best"
    )


def told(monkeypatch: Any, tmp_path: Path, **given: object) -> dict[str, str]:
    """The variables of compose.yaml for `vocab`, with these variables alone."""
    folders = {"DATA": tmp_path / "data", "MODELS": tmp_path / "models", "HOME": tmp_path}
    for name in (*VARIABLES, "GOOGLE_APPLICATION_CREDENTIALS", "STORAGE_EMULATOR_HOST", "CLOUDSDK_CONFIG"):
        monkeypatch.delenv(name, raising=False)
    for name, value in {**folders, **given}.items():
        monkeypatch.setenv(name, str(value))
    containers.make_folders()
    return containers.compose_variables(STAGES["vocab"], [], os.environ)


def test_a_container_gets_network_and_credentials_for_a_bucket_and_not_else(monkeypatch: Any, tmp_path: Path) -> None:
    kept = tmp_path / ".config/gcloud/application_default_credentials.json"
    kept.parent.mkdir(parents=True)
    kept.touch()
    given = tmp_path / "given.json"
    given.touch()
    local = told(monkeypatch, tmp_path)
    assert (local["NETWORK"], local["CREDENTIALS"]) == ("none", "")
    assert local["TRAINING"] == local["DATA"] == str(tmp_path / "data")
    bucket = {"DATA": "gs://b/run"}
    away = told(monkeypatch, tmp_path, **bucket)
    assert (away["NETWORK"], away["CREDENTIALS"]) == ("bridge", str(kept))
    named = told(monkeypatch, tmp_path, **bucket, GOOGLE_APPLICATION_CREDENTIALS=given)
    assert named["CREDENTIALS"] == str(given)
    for emulator, network in (
        ("http://localhost:4443", "host"),
        ("127.0.0.1:9", "host"),
        ("http://gcs:4443", "bridge"),
    ):
        emulated = told(monkeypatch, tmp_path, **bucket, STORAGE_EMULATOR_HOST=emulator)
        assert (emulated["NETWORK"], emulated["CREDENTIALS"]) == (network, "")


@pytest.mark.parametrize(
    ("given", "gpus"),
    [
        ({"DEVICE": "cpu"}, False),
        ({"DEVICE": "cuda"}, True),
        ({"DEVICE": "cuda", "TORCH": "cpu"}, False),
        ({"DEVICE": "auto", "TORCH": "cuda"}, True),
    ],
)
def test_the_image_for_gpus_is_taken_where_it_is_asked_for(given: dict[str, str], gpus: bool) -> None:
    assert containers.on_gpus(given) is gpus


def test_an_unknown_build_of_pytorch_is_refused() -> None:
    done = subprocess.run(
        ["scripts/venv", "train"], cwd=ROOT, env={**CLEAN, "TORCH": "rocm"}, capture_output=True, encoding="utf-8"
    )
    assert (done.returncode, done.stderr) == (2, "venv: TORCH=rocm is neither cpu nor cuda\n")


def test_a_folder_in_a_bucket_is_not_mounted_and_leaves_nothing_here(tmp_path: Path) -> None:
    program = "import json, os; from scripts import containers; print(json.dumps(containers.folder_variables()))"
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT,
        env={**CLEAN, "DATA": "gs://b/run", "MODELS": str(tmp_path / "models")},
        capture_output=True,
        check=True,
    )
    away = json.loads(done.stdout)
    assert len({away["DATA"], away["TRAINING"], away["MODELS"]}) == 3
    assert not Path(away["DATA"]).exists(), "an empty folder that is there for the run"
    assert not Path(away["TRAINING"]).exists()
    assert away["MODELS"] == str(tmp_path / "models")
    assert away["DOWNLOADS"] == str(ROOT / "data/downloads")


@pytest.mark.parametrize("name", ["DATA", "MODELS", "WORK_DIR"])
def test_a_folder_that_cannot_be_made_is_one_line(name: str, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    inside = {"DATA": str(tmp_path), "MODELS": str(tmp_path), name: str(tmp_path / "file" / "x")}
    done = subprocess.run(
        [sys.executable, "-m", "scripts.run", "corpus"],
        cwd=ROOT, env={**CLEAN, **inside, "RUNNER": "docker", "DUMP": SAMPLE}, capture_output=True, encoding="utf-8",
    )  # fmt: skip
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith(f"corpus: error: {tmp_path}/file/x")
    assert f"cannot be made (Not a directory); say {name}= a folder of yours" in done.stderr
    assert "Traceback" not in done.stderr


def test_stages_named_together_run_in_the_order_of_the_flow() -> None:
    wished = ["make", "--dry-run", "-j4", "convert", "vocab", "tpu-train", "corpus", "tfrecords"]
    done = subprocess.run(wished, cwd=ROOT, env=CLEAN, capture_output=True, encoding="utf-8", check=True)
    order = [line.split()[-1] for line in done.stdout.splitlines() if "scripts.run" in line]
    assert order == ["corpus", "vocab", "tfrecords", "tpu-train", "convert"]


def test_make_alone_prints_one_screen_and_help_every_variable() -> None:
    first = subprocess.run(["make"], cwd=ROOT, env=CLEAN, capture_output=True, encoding="utf-8", check=True).stdout
    assert first == (ROOT / "scripts" / "help.txt").read_text(encoding="utf-8")
    assert len(first.splitlines()) <= 25
    helped = subprocess.run(["make", "help"], cwd=ROOT, env=CLEAN, capture_output=True, encoding="utf-8", check=True)
    assert {word for line in helped.stdout.splitlines() for word in shlex.split(line, posix=False)[:1]} >= {
        *variables()
    }


def test_make_hands_on_what_is_typed_as_it_is(tmp_path: Path) -> None:
    text = f"価格は$100です $(shell touch {tmp_path}/made) $$x `touch {tmp_path}/made` 'a' \"b\""
    words = ["make", "--eval", "show: ; @printenv TEXT", "show", f"TEXT={text}"]
    done = subprocess.run(words, cwd=ROOT, env=CLEAN, capture_output=True, encoding="utf-8", check=True)
    assert done.stdout == text + "\n"
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize("target", ["bench", "bench-recipe", "bench-serve", "torture"])
def test_no_word_of_flags_is_executed(target: str) -> None:
    """The shell splits what the variable holds, and expands nothing in it."""
    words = ["make", "--dry-run", target, "FLAGS=$(touch x)"]
    done = subprocess.run(words, cwd=ROOT, env=CLEAN, capture_output=True, encoding="utf-8", check=True)
    assert "$FLAGS" in done.stdout
    assert "touch" not in done.stdout


def test_a_target_that_is_none_is_told_with_the_nearest() -> None:
    done = subprocess.run(["make", "tokenise"], cwd=ROOT, env=CLEAN, capture_output=True, encoding="utf-8")
    assert done.returncode == 2
    assert done.stdout + done.stderr.splitlines()[0] == (
        "make: error: there is no target tokenise; did you mean make tokenize? `make` lists them"
    )


def test_a_space_in_a_value_begins_no_variable() -> None:
    assert shown("vocab", {"MAKEFLAGS": r"w -- TEXT=it's\ SIZ=x\ y SEED=1"}) == "stages.vocab\n"
