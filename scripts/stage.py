"""make's variables → one stage's command line, run in its virtual environment or in its image.

`scripts/stage.py corpus` reads DUMP, SHARDS and the others from the environment, where the Makefile puts
them. A variable that is not set is not passed on, so that the stage's own default holds. Both runners get
the same command line; only the folders have other names in a container. The exit code is the stage's; 137
where it was killed.
Needs nothing but Python 3.9.
"""

from __future__ import annotations

import atexit
import functools
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import urllib.parse
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
# What people type for MODEL → the folder of that model, everywhere.
FOLDERS = {
    "wordpiece": "wordpiece_tinysegmenter",
    "wordpiece_tinysegmenter": "wordpiece_tinysegmenter",
    "character": "character",
}
SIZES = ("base", "medium", "small", "tiny")
# Where the tokenizer finds the models that come with this project.
RELEASED = "released"
# What ENGINE=ray runs on a cluster; the other stages have nothing to spread.
ON_CLUSTER = ("corpus", "vocab", "tfrecords")
# The exit code of a command that is right and did not end well: once the cause is gone, the same command goes on.
RETRYABLE = 75
# That of a process which kill -9 has ended: the system's, where memory ran out, or a person's.
KILLED = 137
# Where a container sees the folder that DATASET names.
DATASET_IN_CONTAINER = "/dataset"
# Variables of compose.yaml → the folders below them that it mounts.
MOUNTED = {
    "DATA": ("corpus", "downloads", "vocab"),
    "TRAINING": ("tfrecords", "checkpoints", "runs", "evaluations", "finetuned"),
    "MODELS": ("",),
    "DOWNLOADS": ("",),
}


class Problem(Exception):
    """An error for the person who typed make: what is wrong and what to do. Exit code 2."""


class Places(NamedTuple):
    """What the folders are called where the stage runs: a folder there, or gs://…, which is the same everywhere."""

    dump: str
    data: str  # corpus, vocab
    training: str  # tfrecords, checkpoints, runs, evaluations, finetuned
    models: str


class Step(NamedTuple):
    """One command: `python -m module arguments…` in the environment of `stage`."""

    stage: str
    module: str
    arguments: list[str]
    network: bool = False


@functools.cache
def tell(line: str) -> None:
    """A line for the person at the terminal, once."""
    print(line, file=sys.stderr, flush=True)


def setting(name: str, default: str = "") -> str:
    """A variable of make; an empty one counts as not set."""
    return os.environ.get(name, "").strip() or default


def flags(**names: str) -> list[str]:
    """`flags(shards="SHARDS")` → `["--shards", "8"]` where SHARDS is 8, nothing where it is not set."""
    pairs = [("--" + flag.replace("_", "-"), setting(name)) for flag, name in names.items()]
    return [word for pair in pairs if pair[1] for word in pair]


def switched_on(name: str) -> bool:
    """Whether a variable that is a switch is 1."""
    said = setting(name, "0")
    if said not in ("0", "1"):
        raise Problem(f"{name}={said} is neither 1 nor 0")
    return said == "1"


def engine_answers() -> bool:
    """Whether a Docker engine and the compose command can be used here, now."""
    if not shutil.which("docker"):
        return False
    try:
        questions = (["docker", "version"], ["docker", "compose", "version"])
        return all(subprocess.run(question, capture_output=True, timeout=20).returncode == 0 for question in questions)
    except subprocess.TimeoutExpired:
        return False


def chosen_runner() -> str:
    """RUNNER, or docker where an engine answers, else venv."""
    runner = setting("RUNNER")
    if runner not in ("", "docker", "venv"):
        raise Problem(f"RUNNER={runner} is neither docker nor venv")
    return runner or ("docker" if engine_answers() else "venv")


def chosen_engine() -> str:
    """ENGINE, or local."""
    engine = setting("ENGINE", "local")
    if engine not in ("local", "ray"):
        raise Problem(f"ENGINE={engine} is neither local nor ray")
    return engine


def chosen_trainer(default: str = "tf1") -> str:
    """TRAINER: who trains the demo, whose checkpoints `convert` takes."""
    trainer = setting("TRAINER", default)
    if trainer not in ("torch", "tf1"):
        raise Problem(f"TRAINER={trainer} is neither torch nor tf1")
    return trainer


def chosen_models() -> list[str]:
    """The folder of the model that MODEL names; those of both without it."""
    model = setting("MODEL")
    if not model:
        return ["wordpiece_tinysegmenter", "character"]
    if model not in FOLDERS:
        raise Problem(f"MODEL={model} is neither wordpiece nor character")
    return [FOLDERS[model]]


def chosen_size() -> str:
    """SIZE, or base."""
    size = setting("SIZE", "base")
    if size not in SIZES:
        raise Problem(f"SIZE={size} is none of {', '.join(SIZES)}")
    return size


def places_here() -> Places:
    """The folders under the names that make was given."""
    data = place("DATA", "data")
    return Places(setting("DUMP", "latest"), data, place("WORK_DIR", data), place("MODELS", "models"))


def place(name: str, default: str) -> str:
    """A folder that a variable names: on this machine, or gs://…"""
    said = setting(name, default)
    if is_remote(said) and not said.startswith("gs://"):
        raise Problem(f"{name}={said} is neither a folder nor gs://…")
    return said.rstrip("/") or "/"


def places_in_container() -> Places:
    """The same folders under the names that compose.yaml mounts them at."""
    here = places_here()
    mounted = Places("/dump/" + Path(here.dump).resolve().name, "data", "data", "models")
    return here._replace(
        **{name: there for name, there in mounted._asdict().items() if not is_remote(getattr(here, name))}
    )


def is_remote(place: str) -> bool:
    """Whether a dump or a folder is somewhere else than on this machine's disk."""
    return place == "latest" or "://" in place


def corpus(at: Places) -> list[Step]:
    """DUMP → DATA/corpus; what is downloaded stays in DATA/downloads, or in data/downloads where DATA is a bucket."""
    here = places_here().dump
    if not is_remote(here) and not Path(here).exists():
        raise Problem(f"there is no {here}; DUMP is a file, a folder, an address, or latest")
    arguments = ["--dump", at.dump, "--out", f"{at.data}/corpus", *flags(shards="SHARDS", jobs="JOBS")]
    if is_remote(here):
        arguments += ["--downloads", f"{'data' if is_remote(at.data) else at.data}/downloads"]
    return [Step("corpus", "stages.corpus", arguments, network=is_remote(here))]


def vocab(at: Places) -> list[Step]:
    """DATA/corpus → DATA/vocab."""
    arguments = ["--corpus", f"{at.data}/corpus", "--out", f"{at.data}/vocab"]
    sizes = flags(vocab_size="VOCAB_SIZE", alphabet_size="ALPHABET_SIZE", sample="SAMPLE", seed="SEED", jobs="JOBS")
    return [Step("vocab", "stages.vocab", arguments + sizes)]


def tfrecords(at: Places) -> list[Step]:
    """DATA/corpus and DATA/vocab → DATA/tfrecords, for MODEL or both."""
    arguments = ["--corpus", f"{at.data}/corpus", "--vocab", f"{at.data}/vocab", "--out", f"{at.data}/tfrecords"]
    chosen_models()
    recipe = flags(model="MODEL", seq_length="SEQ_LENGTH", dupe_factor="DUPE_FACTOR", seed="SEED", jobs="JOBS")
    return [Step("tfrecords", "stages.tfrecords", arguments + recipe + ["--unmasked"] * switched_on("UNMASKED"))]


def tpu_train(at: Places) -> list[Step]:
    """DATA/tfrecords/MODEL → DATA/checkpoints/MODEL/SIZE, or the same folders under WORK_DIR."""
    if not setting("MODEL"):
        raise Problem("tpu-train trains one model: say MODEL=wordpiece or MODEL=character")
    (model,), size = chosen_models(), chosen_size()
    config = f"stages/tpu_train/configs/{model}_{size}.json"
    arguments = ["--tfrecords", f"{at.training}/tfrecords/{model}", "--config", config]
    arguments += ["--out", f"{at.training}/checkpoints/{model}/{size}"]
    arguments += flags(batch="BATCH", steps="STEPS", warmup="WARMUP", learning_rate="LEARNING_RATE")
    arguments += flags(seq_length="SEQ_LENGTH", device="DEVICE", tpu_name="TPU_NAME")
    arguments += flags(tpu_zone="TPU_ZONE", gcp_project="PROJECT")
    arguments += own_vocabulary(model) + known_vocabulary(model, at)
    network = is_remote(at.training) or setting("DEVICE") != "cpu"
    return [Step("tpu-train", "stages.tpu_train", arguments, network)]


def own_vocabulary(model: str) -> list[str]:
    """The flag that takes the model's size from the TFRecords, when they were made with the vocabulary in DATA/vocab.

    `vocab` makes a smaller one than the recipe's from a small corpus. A vocabulary from elsewhere gets no flag,
    so that one of the wrong size is refused.
    """
    here = places_here()
    try:
        made = json.loads(Path(here.data, "vocab", "manifest.json").read_bytes())
        used = json.loads(Path(here.training, "tfrecords", model, "manifest.json").read_bytes())
        same = made["files"][f"{model}/vocab.txt"]["sha256"] == used["vocabulary"]["sha256"]
    except (OSError, ValueError, LookupError):
        return []
    return ["--vocab-size-from-tfrecords"] if same else []


def known_vocabulary(model: str, at: Places) -> list[str]:
    """The flag that has training compare its vocabulary with the TFRecords': of WORK_DIR in a bucket, else of DATA."""
    if is_remote(at.training):
        return ["--vocab", f"{at.training}/vocab/{model}/vocab.txt"]
    there = not is_remote(at.data) and Path(places_here().data, "vocab", model, "vocab.txt").exists()
    return ["--vocab", f"{at.data}/vocab/{model}/vocab.txt"] if there else []


def train(at: Places) -> list[Step]:
    """DATA/tfrecords/MODEL → DATA/runs/MODEL/SIZE, or the same folders under WORK_DIR; then → MODELS/MODEL/SIZE."""
    if not setting("MODEL"):
        raise Problem("train trains one model: say MODEL=wordpiece or MODEL=character")
    (model,), size = chosen_models(), chosen_size()
    config = f"stages/tpu_train/configs/{model}_{size}.json"
    arguments = ["--tfrecords", f"{at.training}/tfrecords/{model}", "--config", config]
    arguments += ["--out", f"{at.training}/runs/{model}/{size}"]
    arguments += flags(recipe="RECIPE", batch="BATCH", steps="STEPS", hours="HOURS", warmup="WARMUP")
    arguments += flags(learning_rate="LEARNING_RATE")
    arguments += flags(seq_length="SEQ_LENGTH", device="DEVICE", processes="PROCESSES")
    arguments += own_vocabulary(model) + known_vocabulary(model, at)
    arguments += ["--dynamic-masking"] * switched_on("DYNAMIC_MASKING")
    return [Step("train", "stages.train", arguments), from_run(model, size, at)]


def from_run(model: str, size: str, at: Places) -> Step:
    """The best model of `train` → a model folder."""
    best = f"{at.training}/runs/{model}/{size}/best"
    arguments = ["--checkpoint", best, "--vocab", f"{at.data}/vocab/{model}/vocab.txt"]
    arguments += [*known_manifests(model, at), "--out", f"{at.models}/{model}/{size}", "--verify"]
    return Step("convert", "stages.convert", arguments)


def known_manifests(model: str, at: Places) -> list[str]:
    """The flags that tell the model card where its data comes from, as far as it is on this machine."""
    here = places_here()
    found = []
    found += flags(license="LICENSE")
    for flag, place, there, folder in (
        ("--tfrecords", here.training, at.training, f"tfrecords/{model}"),
        ("--corpus", here.data, at.data, "corpus"),
    ):
        if is_remote(place) or Path(place, folder, "manifest.json").exists():
            found += [flag, f"{there}/{folder}"]
    return found


def evaluate(at: Places) -> list[Step]:
    """MODELS/MODEL/SIZE and held-out TFRecords → DATA/evaluations/MODEL/SIZE; COMPARE: another model folder."""
    (model,), size = chosen_models()[:1] if not setting("MODEL") else chosen_models(), chosen_size()
    arguments = ["--model", f"{at.models}/{model}/{size}", "--tfrecords", f"{at.training}/tfrecords/{model}"]
    if is_remote(places_here().data) or Path(places_here().data, "corpus", "manifest.json").exists():
        arguments += ["--corpus", f"{at.data}/corpus"]
    if setting("COMPARE"):
        arguments += ["--compare", inside_models(setting("COMPARE"), at)]
    arguments += ["--out", f"{at.training}/evaluations/{model}/{size}", *flags(device="DEVICE")]
    return [Step("train", "stages.evaluate", arguments)]


def inside_models(folder: str, at: Places) -> str:
    """A model folder under the name that it has where the stage runs."""
    here = places_here().models
    if is_remote(folder) or chosen_runner() == "venv":
        return folder
    try:
        return f"{at.models}/{Path(folder).resolve().relative_to(Path(here).resolve())}"
    except ValueError:
        raise Problem(
            f"COMPARE={folder} is not inside MODELS={here}, which is all that a container sees; or RUNNER=venv"
        )


def finetune(at: Places) -> list[Step]:
    """MODELS/MODEL/SIZE and DATASET, a folder with the task's files → DATA/finetuned/MODEL/SIZE/TASK."""
    missing = [name for name in ("MODEL", "TASK", "DATASET") if not setting(name)]
    if missing:
        raise Problem(
            f"finetune needs {' and '.join(missing)}; TASK=jsts|jnli|jcommonsenseqa|marc-ja|jsquad|jsick|ner, "
            "DATASET=folder"
        )
    (model,), size, task = chosen_models(), chosen_size(), setting("TASK")
    dataset = setting("DATASET")
    if not is_remote(dataset) and not Path(dataset).exists():
        raise Problem(f"there is no {dataset}; DATASET is a folder with the train and valid files of {task}")
    inside = dataset if is_remote(dataset) or chosen_runner() == "venv" else DATASET_IN_CONTAINER
    arguments = ["--task", task, "--dataset", inside, "--model", f"{at.models}/{model}/{size}"]
    arguments += ["--out", f"{at.training}/finetuned/{model}/{size}/{task}"]
    arguments += flags(batch="BATCH", device="DEVICE", grid="GRID")
    for flag, name in (("--learning-rate", "LEARNING_RATE"), ("--epochs", "EPOCHS"), ("--seed", "SEED")):
        arguments += [flag, *setting(name).split()] if setting(name) else []
    return [Step("train", "stages.finetune", arguments)]


def push(at: Places) -> list[Step]:
    """MODELS/MODEL/SIZE → REPO on the Hugging Face Hub; without CONFIRM=1 only told."""
    if not (setting("MODEL") and setting("REPO")):
        raise Problem("push sends one model: say MODEL=wordpiece or MODEL=character, SIZE, and REPO=user/name")
    (model,), size = chosen_models(), chosen_size()
    arguments = ["--model", f"{at.models}/{model}/{size}", "--repo", setting("REPO")]
    confirmed = switched_on("CONFIRM")
    arguments += ["--public"] * switched_on("PUBLIC")
    return [Step("convert", "stages.convert.push", [*arguments, *["--confirm"] * confirmed], network=confirmed)]


def convert(at: Places) -> list[Step]:
    """DATA/checkpoints/MODEL/SIZE and DATA/vocab → MODELS/MODEL/SIZE, for MODEL or every model that is trained.

    TRAINER=torch takes DATA/runs/MODEL/SIZE in its place, as `train` does itself at its end. What a bucket holds is not
    asked here: MODEL names the model in it, and the stage says what is missing.
    """
    size = chosen_size()
    in_bucket = is_remote(at.training)
    if in_bucket and not setting("MODEL"):
        raise Problem(f"convert takes one model from {at.training}: say MODEL=wordpiece or MODEL=character")
    if chosen_trainer() == "torch":
        return [from_run(model, size, at) for model in chosen_models()]
    here = Path(places_here().training, "checkpoints")
    trained = [
        model for model in chosen_models() if in_bucket or (here / model / size / "model.ckpt-best.index").exists()
    ]
    if not trained:
        others = sorted(str(best.parent.relative_to(here)) for best in here.glob("*/*/model.ckpt-best.index"))
        raise Problem(
            f"no trained {size} model in {here} ({', '.join(others) or 'none of any size'}); "
            f"make tpu-train MODEL=… SIZE={size} makes one"
        )
    steps = []
    for model in trained:
        folder = f"{at.training}/checkpoints/{model}/{size}"
        checkpoint = ["--checkpoint", f"{folder}/model.ckpt-best", "--config", f"{folder}/albert_config.json"]
        if not (in_bucket or (here / model / size / "model.ckpt-best.reference.npz").exists()):
            reference = [*checkpoint, "--out", f"{folder}/model.ckpt-best.reference.npz"]
            steps.append(Step("tpu-train", "stages.tpu_train.reference", reference))
        vocabulary = ["--vocab", f"{at.data}/vocab/{model}/vocab.txt"]
        told = known_manifests(model, at)
        arguments = [*checkpoint, *vocabulary, *told, "--out", f"{at.models}/{model}/{size}", "--verify"]
        steps.append(Step("convert", "stages.convert", arguments))
    return steps


def serve(at: Places) -> list[Step]:
    """All models in MODELS, or the released ones where it has none, over HTTP at PORT (compose.yaml: a container's)."""
    inside = chosen_runner() == "docker"
    place = ["--host", "0.0.0.0", "--port", "8000"] if inside else flags(host="ADDRESS", port="PORT")
    here = places_here().models
    models = at.models if is_remote(here) or any(Path(here).rglob("vocab.txt")) else RELEASED
    if models == RELEASED:
        tell(f"serve: no model in {here}; serving those that come with this project")
    return [Step("tokenizer", "stages.tokenizer", ["serve", "--models", models, *place])]


def tokenizer(at: Places) -> list[Step]:
    """The lines of standard input → tokens of MODEL in MODELS (the first one there without MODEL or SIZE).

    Where MODELS has no model, and none of a size was asked for: of the released one.
    """
    here = Path(places_here().models)
    if is_remote(at.models):
        if not (setting("MODEL") and setting("SIZE")):
            raise Problem(f"say which model of {at.models}: MODEL=wordpiece or MODEL=character, and SIZE")
        model = f"{at.models}/{chosen_models()[0]}/{chosen_size()}"
        return [Step("tokenizer", "stages.tokenizer", ["tokenize", "--model", model])]
    sizes = [chosen_size()] if setting("SIZE") else SIZES
    found = [f"{model}/{size}" for model in chosen_models() for size in sizes if (here / model / size).is_dir()]
    if not found and not setting("SIZE") and not any(here.rglob("vocab.txt")):
        model = f"{RELEASED}/{chosen_models()[0] if setting('MODEL') else 'character'}/tiny"
        tell(f"tokenize: no model in {here}; taking {model}, which comes with this project")
        return [Step("tokenizer", "stages.tokenizer", ["tokenize", "--model", model])]
    if not found:
        wanted = " ".join(word for word in (setting("MODEL"), setting("SIZE"), "model") if word)
        raise Problem(f"no {wanted} in {here}; make convert makes one")
    return [Step("tokenizer", "stages.tokenizer", ["tokenize", "--model", f"{at.models}/{found[0]}"])]


STAGES = {
    "corpus": corpus,
    "vocab": vocab,
    "tfrecords": tfrecords,
    "tpu-train": tpu_train,
    "train": train,
    "convert": convert,
    "tokenizer": tokenizer,
    "serve": serve,
    "evaluate": evaluate,
    "finetune": finetune,
    "push": push,
}


# What runs in the image and environment of another stage, which has all that it needs.
ELSEWHERE = {"evaluate": "train", "finetune": "train", "push": "convert", "serve": "tokenizer"}
MODULES = {"push": "stages.convert.push", "serve": "stages.tokenizer"}


def steps_of(stage: str, at: Places) -> list[Step]:
    """The commands of a stage, its own one with FLAGS behind it."""
    more = shlex.split(setting("FLAGS"))
    module = MODULES.get(stage, "stages." + stage.replace("-", "_"))
    if "--help" in more:
        return [Step(ELSEWHERE.get(stage, stage), module, [*["serve"] * (stage == "serve"), "--help"])]
    steps = [
        step._replace(arguments=step.arguments + more) if step.module == module else step for step in STAGES[stage](at)
    ]
    return list(map(on_cluster, steps)) if stage in ON_CLUSTER and chosen_engine() == "ray" else steps


def on_cluster(step: Step) -> Step:
    """The same step, where the Ray of stages/cluster/requirements.lock is."""
    return step._replace(stage="cluster", arguments=[*step.arguments, "--engine", "ray"])


def in_venv(step: Step) -> list[str]:
    """The command that runs a step in `.venv/<stage>`, which is made first where it is missing or out of date."""
    subprocess.run([ROOT / "scripts" / "venv", step.stage], check=True)
    return [f".venv/{step.stage}/bin/python", "-m", step.module, *step.arguments]


def in_image(step: Step) -> list[str]:
    """The command that runs a step in its image, which is built first (half a second when nothing has changed)."""
    serves = step.arguments[:1] == ["serve"]
    service = "ray-driver" if step.stage == "cluster" else "serve" if serves else step.stage
    if step.stage == "train" and on_gpus_in_containers():
        service = "train-cuda"
    subprocess.run(["docker", "compose", "build", "--quiet", service], check=True, cwd=ROOT, env=compose_variables())
    terminal = all(os.isatty(stream) for stream in (0, 1, 2))
    name = f"albert-ja-{step.stage}-{os.getpid()}"
    run = ["docker", "compose", "run", "--rm", "--no-deps", "--name", name, *([] if terminal else ["-T"])]
    run += ["--service-ports"] * serves
    if in_cloud(step) or mounted_bucket():
        # What goes to a bucket or comes from it is a file here first. A container's own /tmp is memory.
        run += ["--volume", f"{temporary_folder('scratch')}:/scratch", "--env", "TMPDIR=/scratch"]
    if step.module == MODULES["push"]:
        run += ["--env", "HF_TOKEN", "--env", "HF_ENDPOINT"]
    if DATASET_IN_CONTAINER in step.arguments:
        run += ["--volume", f"{Path(setting('DATASET')).resolve()}:{DATASET_IN_CONTAINER}:ro"]
    if step.stage == "cluster":
        return [*run, service, step.module, *step.arguments]
    if step.module != "stages." + step.stage.replace("-", "_"):
        return [*run, "--entrypoint", f"python -m {step.module}", service, *step.arguments]
    return [*run, service, *step.arguments]


def on_gpus_in_containers() -> bool:
    """Whether the image is the one for GPUs: as TORCH says, else for DEVICE=cuda, or where the engine has GPUs."""
    torch, device = setting("TORCH"), setting("DEVICE", "auto")
    if torch not in ("", "cpu", "cuda"):
        raise Problem(f"TORCH={torch} is neither cpu nor cuda")
    if torch or device != "auto":
        return (torch or device) == "cuda"
    asked = subprocess.run(["docker", "info", "--format", "{{json .Runtimes}}"], capture_output=True, text=True)
    return '"nvidia"' in asked.stdout and has_gpu()


def has_gpu() -> bool:
    """Whether NVIDIA's driver finds a GPU on this machine."""
    program = shutil.which("nvidia-smi")
    return program is not None and subprocess.run([program, "-L"], capture_output=True).returncode == 0


def compose_variables(step: Step | None = None) -> dict[str, str]:
    """What compose.yaml asks for: which folders to mount, whose the files are to be; for a step its network too."""
    here = places_here()
    folders = {"DATA": here.data, "MODELS": here.models, "TRAINING": here.training}
    variables = {
        name: empty_folder(name) if is_remote(said) else str(Path(said).resolve()) for name, said in folders.items()
    }
    if is_remote(here.data):
        variables["DOWNLOADS"] = str(Path(setting("DOWNLOADS", "data/downloads")).resolve())
    if not is_remote(here.dump):
        dump = Path(here.dump).resolve()
        variables.update(DUMP_FOLDER=str(dump.parent), DUMP_NAME=dump.name)
    if step:
        variables["NETWORK"] = network() if in_cloud(step) or step.network else "none"
        variables["CREDENTIALS"] = credentials() if in_cloud(step) else ""
        if in_cloud(step) or step.network or setting("RAY_ADDRESS"):
            variables.update(CLUSTER_INTERNAL="false", SERVE_OUTWARD="true")
    return {**os.environ, **variables, "RUN_AS": f"{os.getuid()}:{os.getgid()}"}


def in_cloud(step: Step) -> bool:
    """Whether a step reaches Cloud Storage or a Cloud TPU, and so needs credentials."""
    return any("gs://" in word for word in step.arguments) or (step.stage == "tpu-train" and step.network)


@functools.cache
def temporary_folder(name: str) -> str:
    """An empty folder that is gone when this process ends; one for each name."""
    folder = tempfile.mkdtemp(prefix=f"albert-ja-{name}-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def empty_folder(name: str) -> str:
    """A folder to mount in place of DATA, TRAINING or MODELS in a bucket: nothing is in it, nothing can be written."""
    folder = temporary_folder(name)
    for mounted in MOUNTED[name]:
        Path(folder, mounted).mkdir(exist_ok=True)
        Path(folder, mounted).chmod(0o555)
    return folder


def network() -> str:
    """The network of a container that needs one: this machine's own where the emulator of the storage listens on it."""
    emulator = setting("STORAGE_EMULATOR_HOST")
    name = urllib.parse.urlsplit(emulator if "://" in emulator else f"//{emulator}").hostname or ""
    return "host" if name == "localhost" or name == "::1" or name.startswith("127.") else "bridge"


def credentials() -> str:
    """The file with the application default credentials; nothing for an emulator, or where there is no file.

    A machine of Google's has none: there the client asks the machine.
    """
    if setting("STORAGE_EMULATOR_HOST"):
        return ""
    named = setting("GOOGLE_APPLICATION_CREDENTIALS")
    if named and not Path(named).is_file():
        raise Problem(f"GOOGLE_APPLICATION_CREDENTIALS names {named}, which is no file")
    kept = Path(setting("CLOUDSDK_CONFIG") or os.path.expanduser("~/.config/gcloud"))
    known = Path(named) if named else kept / "application_default_credentials.json"
    return str(known.resolve()) if known.is_file() else ""


def mounted_folders() -> None:
    """Make the folders that are mounted: the engine would make missing ones itself, and they would be root's."""
    variables = compose_variables()
    for name, folders in MOUNTED.items():
        for folder in folders if name in variables else ():
            try:
                Path(variables[name], folder).mkdir(parents=True, exist_ok=True)
            except OSError as error:
                said = "WORK_DIR" if name == "TRAINING" else name
                raise Problem(f"{error.filename} cannot be made ({error.strerror}); say {said}= a folder of yours")


def finish(command: list[str], environment: dict[str, str], text: str = "") -> int:
    """Run a command to its end and return its exit code; signals are the command's to answer.

    Its standard input is `text`, or this process's own without one.
    """
    # `docker compose run` answers a signal by leaving its container alone, still running. So the container gets it from
    # here, and compose none: its end follows the container's. Only a terminal's own Ctrl-C goes through compose.
    container = command[command.index("--name") + 1] if command[0] == "docker" else ""
    apart = bool(container) and "-T" in command

    def pass_on(signum: int, frame: object) -> None:
        kill = ["docker", "kill", "--signal", str(signum), container]
        if not container or subprocess.run(kill, capture_output=True).returncode:
            process.send_signal(signum)

    process = subprocess.Popen(
        command, cwd=ROOT, env=environment, stdin=subprocess.PIPE if text else None, text=True, encoding="utf-8",
        start_new_session=apart,
    )  # fmt: skip
    signal.signal(signal.SIGTERM, pass_on)
    # Without a container, or with a terminal of its own, the terminal sends it to the stage as well.
    signal.signal(signal.SIGINT, pass_on if apart else signal.SIG_IGN)
    if text:
        process.communicate(text + "\n")
    return process.wait()


def mounted_bucket() -> Path | None:
    """The folder that `make mount` has made of a bucket, while it is there."""
    mounted = Path(setting("MOUNT", "mount"), "data").resolve()
    return mounted if os.path.ismount(mounted) else None


def killed(stage: str) -> str:
    """What to tell a person whose stage was killed: it could not say anything itself."""
    ways = ["fewer processes (JOBS=1)"] if stage in ("corpus", "vocab", "tfrecords") else []
    ways += ["a smaller BATCH="] if stage == "tpu-train" else []
    ways += ["a smaller FLAGS='--micro-batch N'"] if stage == "train" else []
    ways += ["a higher limit (MEMORY=)" if setting("MEMORY") else "more memory"]
    return (
        f"{stage}: error: it was killed from outside, most likely for lack of memory; "
        f"the same command goes on from there, with {' or '.join(ways)}"
    )


def uploaded(step: Step) -> int:
    """Wait until what a step has written is in the bucket, where its --out is inside `make mount`'s folder.

    What a stage writes from the beginning is there when the stage ends; a file that it appended to comes later.
    """
    mounted = mounted_bucket()
    if "--out" not in step.arguments or not mounted:
        return 0
    out = Path(step.arguments[step.arguments.index("--out") + 1]).resolve()
    if mounted not in out.parents:
        return 0
    command = ["docker", "compose", "--profile", "mount", "exec", "-T", "mount", "mount-bucket", "uploaded"]
    done = subprocess.run([*command, str(out.relative_to(mounted))], cwd=ROOT, env=compose_variables())
    if done.returncode:
        print(
            f"{step.stage}: the mount does not say whether {out} is in the bucket; make mount goes on", file=sys.stderr
        )
    return RETRYABLE if done.returncode else 0


def main(arguments: list[str]) -> int:
    """Run the stage that the first argument names; `--print` shows its commands instead."""
    show, names = "--print" in arguments, [word for word in arguments if word != "--print"]
    if len(names) != 1 or names[0] not in STAGES:
        print(f"usage: scripts/stage.py [--print] {'|'.join(STAGES)}", file=sys.stderr)
        return 2
    try:
        docker = chosen_runner() == "docker"
        steps_here = steps_of(names[0], places_here())
        steps = steps_of(names[0], places_in_container()) if docker else steps_here
        for number, step in enumerate(steps):
            if show:
                print(shlex.join([step.module, *step.arguments]))
                continue
            if docker:
                mounted_folders()
            command = in_image(step) if docker else in_venv(step)
            print("$", shlex.join(command), file=sys.stderr, flush=True)
            if docker and names[0] == "serve":
                place = f"{setting('ADDRESS', 'localhost')}:{setting('PORT', '8000')}"
                print(f"serve: the container's port 8000 is http://{place} here", file=sys.stderr, flush=True)
            environment = compose_variables(step) if docker else dict(os.environ)
            code = finish(command, environment, setting("TEXT") if names[0] == "tokenizer" else "")
            code = code or uploaded(steps_here[number])
            if code:
                code = code if code > 0 else 128 - code
                if code == KILLED:
                    print(killed(names[0]), file=sys.stderr)
                return code
    except Problem as problem:
        print(f"{names[0]}: error: {problem}", file=sys.stderr)
        return 2
    except subprocess.CalledProcessError as failed:
        return failed.returncode
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
