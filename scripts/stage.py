"""make's variables → one stage's command line, run in its virtual environment or in its image.

`scripts/stage.py corpus` reads DUMP, SHARDS and the others from the environment, where the Makefile puts
them. A variable that is not set is not passed on, so that the stage's own default holds. Both runners get
the same command line; only the folders have other names in a container. The exit code is the stage's.
Needs nothing but Python 3.9.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
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


class Problem(Exception):
    """An error for the person who typed make: what is wrong and what to do. Exit code 2."""


class Places(NamedTuple):
    """What the folders are called where the stage runs."""

    dump: str
    data: str  # corpus, vocab
    training: str  # tfrecords, checkpoints: gs://… or a folder
    models: str


class Step(NamedTuple):
    """One command: `python -m module arguments…` in the environment of `stage`."""

    stage: str
    module: str
    arguments: list[str]
    network: bool = False


def setting(name: str, default: str = "") -> str:
    """A variable of make; an empty one counts as not set."""
    return os.environ.get(name, "").strip() or default


def flags(**names: str) -> list[str]:
    """`flags(shards="SHARDS")` → `["--shards", "8"]` where SHARDS is 8, nothing where it is not set."""
    pairs = [("--" + flag.replace("_", "-"), setting(name)) for flag, name in names.items()]
    return [word for pair in pairs if pair[1] for word in pair]


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
    data = setting("DATA", "data")
    training = setting("WORK_DIR", data)
    return Places(setting("DUMP", "latest"), data, training.rstrip("/"), setting("MODELS", "models"))


def places_in_container() -> Places:
    """The same folders under the names that compose.yaml mounts them at."""
    here = places_here()
    dump = here.dump if is_remote(here.dump) else "/dump/" + Path(here.dump).resolve().name
    return Places(dump, "data", here.training if is_remote(here.training) else "data", "models")


def is_remote(place: str) -> bool:
    """Whether a dump or a training folder is somewhere else than on this machine's disk."""
    return place == "latest" or "://" in place


def corpus(at: Places) -> list[Step]:
    """DUMP → DATA/corpus; what is downloaded stays in DATA/downloads."""
    here = places_here().dump
    if not is_remote(here) and not Path(here).exists():
        raise Problem(f"there is no {here}; DUMP is a file, a folder, an address, or latest")
    arguments = ["--dump", at.dump, "--out", f"{at.data}/corpus", *flags(shards="SHARDS", jobs="JOBS")]
    if is_remote(here):
        arguments += ["--downloads", f"{at.data}/downloads"]
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
    return [Step("tfrecords", "stages.tfrecords", arguments + recipe)]


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
    arguments += own_vocabulary(model)
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


def convert(at: Places) -> list[Step]:
    """DATA/checkpoints/MODEL/SIZE and DATA/vocab → MODELS/MODEL/SIZE, for MODEL or every model that is trained."""
    if is_remote(at.training):
        raise Problem(f"convert reads a local disk: copy {at.training}/checkpoints to {at.data}/checkpoints first")
    size = chosen_size()
    here = Path(places_here().training, "checkpoints")
    trained = [model for model in chosen_models() if (here / model / size / "model.ckpt-best.index").exists()]
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
        if not (here / model / size / "model.ckpt-best.reference.npz").exists():
            reference = [*checkpoint, "--out", f"{folder}/model.ckpt-best.reference.npz"]
            steps.append(Step("tpu-train", "stages.tpu_train.reference", reference))
        vocabulary = ["--vocab", f"{at.data}/vocab/{model}/vocab.txt"]
        arguments = [*checkpoint, *vocabulary, "--out", f"{at.models}/{model}/{size}", "--verify"]
        steps.append(Step("convert", "stages.convert", arguments))
    return steps


def tokenizer(at: Places) -> list[Step]:
    """The lines of standard input → tokens of MODEL in MODELS (the first one there without MODEL or SIZE)."""
    here = Path(places_here().models)
    sizes = [chosen_size()] if setting("SIZE") else SIZES
    found = [f"{model}/{size}" for model in chosen_models() for size in sizes if (here / model / size).is_dir()]
    if not found:
        wanted = " ".join(word for word in (setting("MODEL"), setting("SIZE"), "model") if word)
        raise Problem(f"no {wanted} in {here}; make convert makes one")
    return [Step("tokenizer", "stages.tokenizer", ["tokenize", "--model", f"{at.models}/{found[0]}"])]


STAGES = {
    "corpus": corpus,
    "vocab": vocab,
    "tfrecords": tfrecords,
    "tpu-train": tpu_train,
    "convert": convert,
    "tokenizer": tokenizer,
}


def steps_of(stage: str, at: Places) -> list[Step]:
    """The commands of a stage, the last one with FLAGS behind it."""
    more = shlex.split(setting("FLAGS"))
    if "--help" in more:
        return [Step(stage, "stages." + stage.replace("-", "_"), ["--help"])]
    *before, last = STAGES[stage](at)
    return [*before, last._replace(arguments=last.arguments + more)]


def in_venv(step: Step) -> list[str]:
    """The command that runs a step in `.venv/<stage>`, which is made first where it is missing or out of date."""
    subprocess.run([ROOT / "scripts" / "venv", step.stage], check=True)
    return [f".venv/{step.stage}/bin/python", "-m", step.module, *step.arguments]


def in_image(step: Step) -> list[str]:
    """The command that runs a step in its image, which is built first (half a second when nothing has changed)."""
    subprocess.run(["docker", "compose", "build", "--quiet", step.stage], check=True, cwd=ROOT, env=compose_variables())
    terminal = all(os.isatty(stream) for stream in (0, 1, 2))
    run = ["docker", "compose", "run", "--rm", "--no-deps", *([] if terminal else ["-T"])]
    if step.module != "stages." + step.stage.replace("-", "_"):
        return [*run, "--entrypoint", f"python -m {step.module}", step.stage, *step.arguments]
    return [*run, step.stage, *step.arguments]


def compose_variables(network: bool = False) -> dict[str, str]:
    """What compose.yaml asks for: which folders to mount, whose the files are to be, and the network or none."""
    here = places_here()
    training = here.data if is_remote(here.training) else here.training
    folders = {"DATA": here.data, "MODELS": here.models, "TRAINING": training}
    variables = {name: str(Path(folder).resolve()) for name, folder in folders.items()}
    if not is_remote(here.dump):
        dump = Path(here.dump).resolve()
        variables.update(DUMP_FOLDER=str(dump.parent), DUMP_NAME=dump.name)
    if network:
        variables["NETWORK"] = "bridge"
    return {**os.environ, **variables, "RUN_AS": f"{os.getuid()}:{os.getgid()}"}


def mounted_folders() -> None:
    """Make the folders that are mounted: the engine would make missing ones itself, and they would be root's."""
    variables = compose_variables()
    below = {"DATA": ("corpus", "downloads", "vocab"), "TRAINING": ("tfrecords", "checkpoints"), "MODELS": ("",)}
    for name, folders in below.items():
        for folder in folders:
            Path(variables[name], folder).mkdir(parents=True, exist_ok=True)


def finish(command: list[str], environment: dict[str, str], text: str = "") -> int:
    """Run a command to its end and return its exit code; signals are the command's to answer.

    Its standard input is `text`, or this process's own without one.
    """
    process = subprocess.Popen(
        command, cwd=ROOT, env=environment, stdin=subprocess.PIPE if text else None, text=True, encoding="utf-8"
    )
    signal.signal(signal.SIGTERM, lambda *_: process.terminate())
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # The terminal sends it to the stage as well.
    if text:
        process.communicate(text + "\n")
    return process.wait()


def main(arguments: list[str]) -> int:
    """Run the stage that the first argument names; `--print` shows its commands instead."""
    show, names = "--print" in arguments, [word for word in arguments if word != "--print"]
    if len(names) != 1 or names[0] not in STAGES:
        print(f"usage: scripts/stage.py [--print] {'|'.join(STAGES)}", file=sys.stderr)
        return 2
    try:
        docker = chosen_runner() == "docker"
        for step in steps_of(names[0], places_in_container() if docker else places_here()):
            if show:
                print(shlex.join([step.module, *step.arguments]))
                continue
            if docker:
                mounted_folders()
            command = in_image(step) if docker else in_venv(step)
            print("$", shlex.join(command), file=sys.stderr, flush=True)
            environment = compose_variables(step.network) if docker else dict(os.environ)
            code = finish(command, environment, setting("TEXT") if names[0] == "tokenizer" else "")
            if code:
                return code if code > 0 else 128 - code
    except Problem as problem:
        print(f"{names[0]}: error: {problem}", file=sys.stderr)
        return 2
    except subprocess.CalledProcessError as failed:
        return failed.returncode
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
