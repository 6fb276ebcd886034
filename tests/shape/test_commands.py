"""make's variables become the stages' command lines, the same ones for both runners and for compose."""

import json
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SAMPLE = "scripts/sample/jasample-cirrussearch-content.json"
RECIPE = {
    "SHARDS": "8",
    "JOBS": "2",
    "VOCAB_SIZE": "3000",
    "ALPHABET_SIZE": "1200",
    "SAMPLE": "1000",
    "SEED": "7",
    "SEQ_LENGTH": "64",
    "DUPE_FACTOR": "5",
    "MODEL": "character",
    "SIZE": "tiny",
    "BATCH": "8",
    "STEPS": "20",
    "WARMUP": "2",
    "LEARNING_RATE": "0.001",
    "DEVICE": "cpu",
}
# Variables of the make that runs the tests must not leak in.
CLEAN = {"PATH": os.environ["PATH"]}


def shown(stage: str, variables: Mapping[str, object], code: int = 0) -> str:
    """What `scripts/stage.py --print` says with nothing but these variables set."""
    done = subprocess.run(
        [sys.executable, "scripts/stage.py", "--print", stage],
        cwd=ROOT,
        env={**CLEAN, "RUNNER": "venv", **{name: str(value) for name, value in variables.items()}},
        capture_output=True,
        encoding="utf-8",
    )
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    return done.stderr if code else done.stdout


@pytest.mark.parametrize(
    ("stage", "variables", "command"),
    [
        ("corpus", {"DUMP": SAMPLE}, f"stages.corpus --dump {SAMPLE} --out data/corpus"),
        ("corpus", {}, "stages.corpus --dump latest --out data/corpus --downloads data/downloads"),
        (
            "corpus",
            {"DUMP": SAMPLE, "RUNNER": "docker", "DATA": "/elsewhere", "SHARDS": 8},
            "stages.corpus --dump /dump/jasample-cirrussearch-content.json --out data/corpus --shards 8",
        ),
        ("vocab", {"DATA": "d", "SAMPLE": 9}, "stages.vocab --corpus d/corpus --out d/vocab --sample 9"),
        ("vocab", {"JOBS": ""}, "stages.vocab --corpus data/corpus --out data/vocab"),
        (
            "tfrecords",
            {"MODEL": "wordpiece", "FLAGS": "--max-predictions 77"},
            "stages.tfrecords --corpus data/corpus --vocab data/vocab --out data/tfrecords"
            " --model wordpiece --max-predictions 77",
        ),
        (
            "tpu-train",
            {"MODEL": "wordpiece", "SIZE": "medium", "TPU_NAME": "t", "TPU_ZONE": "z", "WORK_DIR": "gs://b/run/"},
            "stages.tpu_train --tfrecords gs://b/run/tfrecords/wordpiece_tinysegmenter"
            " --config stages/tpu_train/configs/wordpiece_tinysegmenter_medium.json"
            " --out gs://b/run/checkpoints/wordpiece_tinysegmenter/medium --tpu-name t --tpu-zone z"
            " --vocab gs://b/run/vocab/wordpiece_tinysegmenter/vocab.txt",
        ),
        ("convert", {"FLAGS": "--help"}, "stages.convert --help"),
        # gs:// has the same name in a container; what is downloaded stays on this machine.
        (
            "corpus",
            {"DATA": "gs://b/run/", "DUMP": "gs://b/d.json.gz", "RUNNER": "docker"},
            "stages.corpus --dump gs://b/d.json.gz --out gs://b/run/corpus --downloads data/downloads",
        ),
        (
            "tfrecords",
            {"DATA": "gs://b/run", "RUNNER": "docker"},
            "stages.tfrecords --corpus gs://b/run/corpus --vocab gs://b/run/vocab --out gs://b/run/tfrecords",
        ),
        (
            "convert",
            {"WORK_DIR": "gs://b/run", "MODEL": "character", "SIZE": "tiny", "RUNNER": "docker", "DATA": "/elsewhere"},
            "stages.convert --checkpoint gs://b/run/checkpoints/character/tiny/model.ckpt-best"
            " --config gs://b/run/checkpoints/character/tiny/albert_config.json"
            " --vocab data/vocab/character/vocab.txt --tfrecords gs://b/run/tfrecords/character"
            " --out models/character/tiny --verify",
        ),
        # Training with PyTorch ends in a model folder; FLAGS are of the training.
        (
            "train",
            {"MODEL": "character", "SIZE": "tiny", "DEVICE": "cpu", "PROCESSES": 2, "FLAGS": "--check", "DATA": "d"},
            "stages.train --tfrecords d/tfrecords/character --config stages/tpu_train/configs/character_tiny.json"
            " --out d/runs/character/tiny --device cpu --processes 2 --check\n"
            "stages.convert --checkpoint d/runs/character/tiny/best --vocab d/vocab/character/vocab.txt"
            " --out models/character/tiny --verify",
        ),
        (
            "convert",
            {"MODEL": "wordpiece", "SIZE": "base", "TRAINER": "torch", "DATA": "d", "MODELS": "m"},
            "stages.convert --checkpoint d/runs/wordpiece_tinysegmenter/base/best"
            " --vocab d/vocab/wordpiece_tinysegmenter/vocab.txt --out m/wordpiece_tinysegmenter/base --verify",
        ),
        (
            "evaluate",
            {"MODEL": "character", "SIZE": "tiny", "RUNNER": "docker", "DATA": "/elsewhere", "COMPARE": "models/a/b"},
            "stages.evaluate --model models/character/tiny --tfrecords data/tfrecords/character"
            " --compare models/a/b --out data/evaluations/character/tiny",
        ),
        (
            "finetune",
            {"MODEL": "character", "SIZE": "tiny", "TASK": "jnli", "DATASET": "tests", "FLAGS": "--grid jglue"},
            "stages.finetune --task jnli --dataset tests --model models/character/tiny"
            " --out data/finetuned/character/tiny/jnli --grid jglue",
        ),
        (
            "finetune",
            {"MODEL": "character", "TASK": "jnli", "DATASET": "tests", "RUNNER": "docker", "DATA": "/elsewhere"},
            "stages.finetune --task jnli --dataset /dataset --model models/character/base"
            " --out data/finetuned/character/base/jnli",
        ),
        (
            "push",
            {"MODEL": "character", "SIZE": "tiny", "REPO": "me/it"},
            "stages.convert.push --model models/character/tiny --repo me/it",
        ),
        (
            "push",
            {"MODEL": "character", "SIZE": "tiny", "REPO": "me/it", "CONFIRM": 1},
            "stages.convert.push --model models/character/tiny --repo me/it --confirm",
        ),
        (
            "tokenizer",
            {"MODELS": "gs://b/models", "MODEL": "character", "SIZE": "tiny"},
            "stages.tokenizer tokenize --model gs://b/models/character/tiny",
        ),
    ],
)
def test_variables_become_a_command_line(stage: str, variables: dict[str, object], command: str) -> None:
    assert shown(stage, variables) == command + "\n"


@pytest.mark.parametrize(
    ("stage", "variables", "words"),
    [
        ("corpus", {"DUMP": "/no/such.gz"}, ["/no/such.gz", "DUMP is a file, a folder, an address, or latest"]),
        ("vocab", {"RUNNER": "podman"}, ["RUNNER=podman is neither docker nor venv"]),
        ("tfrecords", {"MODEL": "bert"}, ["MODEL=bert is neither wordpiece nor character"]),
        ("tpu-train", {}, ["say MODEL=wordpiece or MODEL=character"]),
        ("tpu-train", {"MODEL": "character", "SIZE": "large"}, ["SIZE=large is none of base, medium, small, tiny"]),
        ("train", {}, ["say MODEL=wordpiece or MODEL=character"]),
        ("convert", {"TRAINER": "jax"}, ["TRAINER=jax is neither torch nor tf1"]),
        ("finetune", {"MODEL": "character"}, ["finetune needs TASK and DATASET"]),
        ("finetune", {"MODEL": "character", "TASK": "jsts", "DATASET": "/nowhere"}, ["there is no /nowhere"]),
        ("push", {"MODEL": "character"}, ["REPO=user/name"]),
        (
            "evaluate",
            {"MODEL": "character", "RUNNER": "docker", "COMPARE": "/elsewhere", "DATA": "/nowhere"},
            ["COMPARE=/elsewhere is not inside MODELS=models"],
        ),
        ("convert", {"DATA": "/nowhere"}, ["no trained base model in /nowhere/checkpoints", "make tpu-train"]),
        ("convert", {"WORK_DIR": "gs://b/run"}, ["one model from gs://b/run: say MODEL=wordpiece or MODEL=character"]),
        ("tokenizer", {"MODELS": "gs://b/m", "MODEL": "character"}, ["which model of gs://b/m", "and SIZE"]),
        ("vocab", {"DATA": "s3://b/run"}, ["DATA=s3://b/run is neither a folder nor gs://…"]),
        ("tokenizer", {"MODELS": "/nowhere", "SIZE": "tiny"}, ["no tiny model in /nowhere; make convert makes one"]),
    ],
)
def test_a_wrong_variable_is_one_clear_line(stage: str, variables: dict[str, object], words: list[str]) -> None:
    said = shown(stage, variables, code=2)
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
    assert [shlex.split(command)[0] for command in commands] == [
        "stages.tpu_train.reference",
        "stages.convert",
        "stages.convert",
    ]
    folder = f"{tmp_path}/checkpoints/wordpiece_tinysegmenter/tiny"
    assert commands[0].endswith(f"--out {folder}/model.ckpt-best.reference.npz")
    assert f"--vocab {tmp_path}/vocab/character/vocab.txt --out models/character/tiny --verify" in commands[2]
    assert "character/tiny" in shown("convert", {"DATA": tmp_path, "SIZE": "small"}, code=2)


def test_training_takes_the_size_of_a_vocabulary_only_from_the_one_made_here(tmp_path: Path) -> None:
    vocabulary, tfrecords = tmp_path / "vocab" / "manifest.json", tmp_path / "tfrecords/character/manifest.json"
    for path in (vocabulary, tfrecords):
        path.parent.mkdir(parents=True)
    vocabulary.write_text(json.dumps({"files": {"character/vocab.txt": {"sha256": "a"}}}))
    for used, expected in (("a", True), ("b", False)):
        tfrecords.write_text(json.dumps({"vocabulary": {"sha256": used}}))
        command = shown("tpu-train", {"DATA": tmp_path, "MODEL": "character"})
        assert ("--vocab-size-from-tfrecords" in command) is expected
    vocabulary.unlink()
    assert "--vocab-size-from-tfrecords" not in shown("tpu-train", {"DATA": tmp_path, "MODEL": "character"})


# What stage.py tells compose for a step whose command line holds these words.
TOLD = """
import json, sys
sys.path.insert(0, "scripts")
import stage
step = stage.Step("vocab", "stages.vocab", sys.argv[1:])
stage.mounted_folders()
told = stage.compose_variables(step)
print(json.dumps(told))
"""


def told(tmp_path: Path, *words: str, **variables: object) -> dict[str, str]:
    """The variables of compose.yaml for a step of `vocab` with this command line."""
    folders = {"DATA": tmp_path / "data", "MODELS": tmp_path / "models", "HOME": tmp_path}
    done = subprocess.run(
        [sys.executable, "-c", TOLD, *words],
        cwd=ROOT,
        env={**CLEAN, **{name: str(value) for name, value in {**folders, **variables}.items()}},
        capture_output=True,
        encoding="utf-8",
        check=True,
    )
    answer: dict[str, str] = json.loads(done.stdout)
    return answer


def test_a_container_gets_network_and_credentials_for_a_bucket_and_not_else(tmp_path: Path) -> None:
    kept = tmp_path / ".config/gcloud/application_default_credentials.json"
    kept.parent.mkdir(parents=True)
    kept.touch()
    given = tmp_path / "key.json"
    given.touch()
    bucket = ["--out", "gs://b/run/vocab"]
    local = told(tmp_path, "--out", "data/vocab")
    assert (local["NETWORK"], local["CREDENTIALS"]) == ("none", "")
    assert local["TRAINING"] == local["DATA"] == str(tmp_path / "data")
    away = told(tmp_path, *bucket)
    assert (away["NETWORK"], away["CREDENTIALS"]) == ("bridge", str(kept))
    assert told(tmp_path, *bucket, GOOGLE_APPLICATION_CREDENTIALS=given)["CREDENTIALS"] == str(given)
    for emulator, network in (
        ("http://localhost:4443", "host"),
        ("127.0.0.1:9", "host"),
        ("http://gcs:4443", "bridge"),
    ):
        emulated = told(tmp_path, *bucket, STORAGE_EMULATOR_HOST=emulator)
        assert (emulated["NETWORK"], emulated["CREDENTIALS"]) == (network, "")


@pytest.mark.parametrize(
    ("variables", "service"),
    [
        ({"DEVICE": "cpu"}, "train"),
        ({"DEVICE": "cuda"}, "train-cuda"),
        ({"DEVICE": "cuda", "TORCH": "cpu"}, "train"),
        ({"DEVICE": "auto", "TORCH": "cuda"}, "train-cuda"),
    ],
)
def test_the_image_for_gpus_is_taken_where_it_is_asked_for(variables: dict[str, str], service: str) -> None:
    program = "import sys; sys.path.insert(0, 'scripts'); import stage; print(stage.on_gpus_in_containers())"
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT, env={**CLEAN, **variables}, capture_output=True, encoding="utf-8", check=True,
    )  # fmt: skip
    assert done.stdout.strip() == str(service == "train-cuda")


def test_an_unknown_build_of_pytorch_is_refused() -> None:
    done = subprocess.run(
        ["scripts/venv", "train"], cwd=ROOT, env={**CLEAN, "TORCH": "rocm"}, capture_output=True, encoding="utf-8"
    )
    assert (done.returncode, done.stderr) == (2, "venv: TORCH=rocm is neither cpu nor cuda\n")


def test_a_folder_in_a_bucket_is_not_mounted_and_leaves_nothing_here(tmp_path: Path) -> None:
    away = told(tmp_path, "--out", "gs://b/run/vocab", DATA="gs://b/run")
    assert len({away["DATA"], away["TRAINING"], away["MODELS"]}) == 3
    assert not Path(away["DATA"]).exists(), "an empty folder that is there for the run"
    assert not Path(away["TRAINING"]).exists()
    assert away["MODELS"] == str(tmp_path / "models")
    assert not (tmp_path / "data").exists()
    assert away["DOWNLOADS"] == str(ROOT / "data/downloads")


@pytest.mark.parametrize("name", ["DATA", "MODELS", "WORK_DIR"])
def test_a_folder_that_cannot_be_made_is_one_line(name: str, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    inside = {"DATA": str(tmp_path), "MODELS": str(tmp_path), name: str(tmp_path / "file" / "x")}
    done = subprocess.run(
        [sys.executable, "scripts/stage.py", "corpus"],
        cwd=ROOT, env={**CLEAN, **inside, "RUNNER": "docker", "DUMP": SAMPLE}, capture_output=True, encoding="utf-8",
    )  # fmt: skip
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith(f"corpus: error: {tmp_path}/file/x")
    assert f"cannot be made (Not a directory); say {name}= a folder of yours" in done.stderr
    assert "Traceback" not in done.stderr


def test_stages_named_together_run_in_the_order_of_the_flow() -> None:
    wished = ["make", "--dry-run", "-j4", "convert", "vocab", "tpu-train", "corpus", "tfrecords"]
    done = subprocess.run(wished, cwd=ROOT, env=CLEAN, capture_output=True, encoding="utf-8", check=True)
    order = [line.split()[-1] for line in done.stdout.splitlines() if "stage.py" in line]
    assert order == ["corpus", "vocab", "tfrecords", "tpu-train", "convert"]


@pytest.mark.skipif(
    not shutil.which("docker") or subprocess.run(["docker", "compose", "version"], capture_output=True).returncode != 0,
    reason="docker compose is not installed",
)
@pytest.mark.parametrize("stage", ["corpus", "vocab", "tfrecords", "tpu-train", "train", "convert"])
def test_compose_says_the_same_as_make(stage: str, tmp_path: Path) -> None:
    environment = {**CLEAN, **RECIPE}
    read = ["docker", "compose", "--profile", "chain", "--profile", "train", "config", "--format", "json"]
    done = subprocess.run(read, cwd=ROOT, env=environment, capture_output=True, encoding="utf-8", check=True)
    by_compose = json.loads(done.stdout)["services"][stage]["command"]
    trained(tmp_path, "character", reference=True)
    said = shown(stage, {**RECIPE, "RUNNER": "docker", "DATA": tmp_path, "DUMP": SAMPLE})
    by_make = shlex.split(said.splitlines()[0])[1:]
    if stage in ("tpu-train", "train"):
        # The chain always trains on a vocabulary of its own; make looks whether that is so.
        by_make += ["--vocab-size-from-tfrecords", "--vocab", "data/vocab/character/vocab.txt"]
    assert sorted(pairs(by_compose)) == sorted(pairs(by_make))


def pairs(words: list[str]) -> list[tuple[str, ...]]:
    """Flags with their values."""
    starts = [n for n, word in enumerate(words) if word.startswith("--")]
    return [tuple(words[start:end]) for start, end in zip(starts, [*starts[1:], len(words)], strict=True)]


def test_make_alone_prints_the_help() -> None:
    done = subprocess.run(["make"], cwd=ROOT, env=CLEAN, capture_output=True, encoding="utf-8", check=True)
    assert done.stdout == (ROOT / "scripts" / "help.txt").read_text(encoding="utf-8")
