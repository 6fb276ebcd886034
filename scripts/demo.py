"""The sample corpus → two small models and their tokens, by the commands that people type; a summary at the end.

Trained with PyTorch, or, with TRAINER=tf1, with TensorFlow 1.15. Everything goes to demo/. A demo that was stopped goes
on where it was; one that came to its end starts anew.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from scripts.containers import ROOT
from scripts.run import chosen_runner, refuse_unknown_variables
from stages.command.folders import MODELS as FOLDERS
from stages.command.folders import trainer as trainer_of
from stages.command.refusal import Refusal
from stages.pipeline import variables

DEMO = Path("demo")
TIMES = DEMO / "times.json"
SUMMARY = DEMO / "summary.txt"
SAMPLE = "scripts/sample/jasample-cirrussearch-content.json"
SENTENCE = "城下町から海辺まで道が通じ、春には多くの人が花を見に来ました。"
MODELS = ("wordpiece", "character")
SIZE = "tiny"
# Small enough for two cores and a few minutes, large enough for the loss to fall: everything else is the recipe.
CORPUS = "SHARDS=16"
VOCAB = "VOCAB_SIZE=3000 ALPHABET_SIZE=1200"
TFRECORDS = "SEQ_LENGTH=64 DUPE_FACTOR=10"
TRAIN = {
    "torch": ("DEVICE=cpu STEPS=300", "--save-every 100"),
    "tf1": ("DEVICE=cpu BATCH=8 STEPS=300 WARMUP=30 LEARNING_RATE=0.002", "--save-every 100 --eval-steps 4"),
}
# Who trains → the stage. `make train` converts the model as well.
STAGES = {"torch": "train", "tf1": "tpu-train"}


def commands(runner: str, trainer: str) -> list[tuple[str, list[str]]]:
    """Every command of the demo in order, under the name by which its time is told."""
    common = [f"DATA={DEMO}/data", f"MODELS={DEMO}/models", f"RUNNER={runner}"]

    def make(target: str, variables: str, *more: str) -> list[str]:
        return ["make", "--no-print-directory", target, *variables.split(), *common, *more]

    listed = [
        ("set-up", ["make", "--no-print-directory", "images" if runner == "docker" else "venv"]),
        ("corpus", make("corpus", f"DUMP={SAMPLE} {CORPUS}")),
        ("vocab", make("vocab", VOCAB)),
        ("tfrecords", make("tfrecords", TFRECORDS)),
    ]
    settings, flags = TRAIN[trainer]
    for model in MODELS:
        target = STAGES[trainer]
        listed.append((f"{target} {model}", make(target, f"MODEL={model} SIZE={SIZE} {settings}", f"FLAGS={flags}")))
    if trainer == "tf1":
        for model in MODELS:
            listed.append((f"convert {model}", make("convert", f"MODEL={model} SIZE={SIZE}")))
    for model in MODELS:
        listed.append((f"tokenize {model}", make("tokenize", f"MODEL={model} SIZE={SIZE}", f"TEXT={SENTENCE}")))
    return listed


def environment() -> dict[str, str]:
    """This process's variables without make's own: only what a command says counts."""
    dropped = {*variables(), "MAKEFLAGS", "MAKEOVERRIDES", "MFLAGS", "MAKELEVEL"}
    return {name: value for name, value in os.environ.items() if name not in dropped}


def run(runner: str, trainer: str) -> dict[str, Any]:
    """Run every command; gives the seconds of each, and the tokens of each model."""
    told: dict[str, Any] = json.loads(TIMES.read_text()) if TIMES.exists() else {"seconds": {}, "tokens": {}}
    for name, command in commands(runner, trainer):
        print(f"\n$ {shlex.join(word for word in command if word != '--no-print-directory')}", flush=True)
        start = time.monotonic()
        tokens = name.startswith("tokenize")
        done = subprocess.run(
            command, env=environment(), stdout=subprocess.PIPE if tokens else None, encoding="utf-8", check=True
        )
        # A stage that an earlier demo has finished says so immediately: its time is the earlier one.
        seconds = told["seconds"]
        seconds[name] = max(round(time.monotonic() - start, 1), seconds.get(name, 0.0))
        if tokens:
            print(done.stdout, end="")
            told["tokens"][name.split()[1]] = done.stdout.strip()
        TIMES.write_text(json.dumps(told, ensure_ascii=False))
    return told


def read(*parts: str) -> Any:
    """A JSON file of the demo."""
    return json.loads(Path(DEMO, *parts).read_text(encoding="utf-8"))


def bars(losses: list[float], width: int = 24) -> str:
    """A curve as a line of blocks, from the highest to the lowest value."""
    cells = [losses[len(losses) * cell // width : len(losses) * (cell + 1) // width] for cell in range(width)]
    means = [sum(cell) / len(cell) for cell in cells if cell]
    low, high = min(means), max(means)
    return "".join("▁▂▃▄▅▆▇█"[round(7 * (mean - low) / ((high - low) or 1))] for mean in means)


def corpus_lines() -> list[str]:
    made = read("data", "corpus", "manifest.json")
    counts, dropped = made["counts"], made["dropped"]
    lost = sum(number for reasons in dropped.values() for number in reasons.values())
    return [
        f"{counts['articles_kept']:,} of {counts['documents_read']:,} articles, {counts['sentences_kept']:,} sentences "
        f"of {counts['characters_kept']:,} characters in {len(made['files'])} shards; dropped: {lost:,}"
    ]


def vocab_lines() -> list[str]:
    files = read("data", "vocab", "manifest.json")["files"]
    return [f"{model}: {files[f'{FOLDERS[model]}/vocab.txt']['entries']:,} entries" for model in MODELS]


def tfrecords_lines() -> list[str]:
    lines = []
    for model in MODELS:
        made = read("data", "tfrecords", FOLDERS[model], "manifest.json")
        size = sum(file["bytes"] for file in made["files"].values())
        counts = made["counts"]
        lines.append(
            f"{model}: {counts['examples']:,} examples of {made['options']['seq_length']} tokens, {size / 1e6:.1f} MB; "
            f"{counts['masked_tokens'] / counts['tokens']:.0%} of the tokens masked"
        )
    return lines


def curves(model: str, trainer: str) -> tuple[list[float], list[dict[str, Any]]]:
    """The losses of a training, and its evaluations on held-out examples."""
    if trainer == "torch":
        rows = json_lines("runs", FOLDERS[model], SIZE, "metrics.jsonl")
        return [row["loss"] for row in rows if row["of"] == "train"], [row for row in rows if row["of"] == "held_out"]
    folder = Path(DEMO, "data", "checkpoints", FOLDERS[model], SIZE)
    losses = [float(line.split("\t")[1]) for line in (folder / "train_loss.tsv").read_text().splitlines()[1:]]
    return losses, json_lines("checkpoints", FOLDERS[model], SIZE, "eval_results.jsonl")


def json_lines(*parts: str) -> list[dict[str, Any]]:
    """The rows of a file of JSON lines in the demo's data."""
    lines = Path(DEMO, "data", *parts).read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


def train_lines(model: str, trainer: str) -> list[str]:
    losses, evaluations = curves(model, trainer)
    first, last = evaluations[0], evaluations[-1]
    return [
        f"loss {losses[0]:.2f} {bars(losses)} {losses[-1]:.2f} in {last['step']:,} steps",
        f"on held-out examples, after {first['step']:,} and {last['step']:,} steps: masked word loss "
        f"{first['masked_lm_loss']:.2f} → {last['masked_lm_loss']:.2f}, "
        f"right {first['masked_lm_accuracy']:.1%} → {last['masked_lm_accuracy']:.1%}",
    ]


def convert_lines(model: str, trainer: str) -> list[str]:
    made = read("models", FOLDERS[model], SIZE, "manifest.json")
    largest = max(made["parity"].values())
    other = "TensorFlow's" if trainer == "tf1" else "the trained model's"
    return [
        f"{made['parameters']:,} parameters in {DEMO}/models/{FOLDERS[model]}/{SIZE}; its outputs and {other} "
        f"differ by {largest:.0e} at most"
    ]


def summary(runner: str, trainer: str, told: dict[str, Any]) -> str:
    """What was made, from the manifests that the stages left."""
    seconds = told["seconds"]
    work = sum(taken for name, taken in seconds.items() if name != "set-up")
    lines = [f"Two models in {work / 60:.1f} minutes, RUNNER={runner}; set-up {seconds['set-up']:.0f} s", ""]

    def stage(name: str, findings: list[str]) -> None:
        head = f"{name:<20}{seconds[name]:>5.0f} s"
        for finding in findings:
            lines.append(f"{head:<29}{finding}")
            head = ""

    stage("corpus", corpus_lines())
    stage("vocab", vocab_lines())
    stage("tfrecords", tfrecords_lines())
    for model in MODELS:
        told_of_model = convert_lines(model, trainer)
        if trainer == "tf1":
            stage(f"tpu-train {model}", train_lines(model, trainer))
            stage(f"convert {model}", told_of_model)
        else:
            stage(f"train {model}", train_lines(model, trainer) + told_of_model)

    lines += ["", SENTENCE]
    lines += [f"  {model:<11}{told['tokens'][model]}" for model in MODELS]
    lines += ["", "What the models put in place of a mask, after so little training:"]
    filled = {model: read("models", FOLDERS[model], SIZE, "manifest.json")["filled_masks"] for model in MODELS}
    for number, known in enumerate(filled[MODELS[0]]):
        lines.append(f"  {known['text']}")
        for model in MODELS:
            words = "  ".join(f"{word} {share:.0%}" for word, share in filled[model][number]["words"])
            lines.append(f"    {model:<11}{words}")
    if trainer == "torch":
        folders = " and ".join(f"{DEMO}/data/runs/{FOLDERS[model]}/{SIZE}" for model in MODELS)
        lines += ["", f"The curves: progress.png in {folders}. With TensorFlow 1.15: make demo TRAINER=tf1"]
    lines += ["", f"Go on with: make tokenize TEXT=… MODEL=character SIZE={SIZE} MODELS={DEMO}/models"]
    lines += [f"or: make serve MODELS={DEMO}/models, and http://localhost:8000 in a browser"]
    return "\n".join(lines)


def main() -> int:
    """Run the demo and tell about it."""
    os.chdir(ROOT)
    try:
        refuse_unknown_variables()
        runner, trainer = chosen_runner(), trainer_of(os.environ, "torch")
    except Refusal as problem:
        print(f"demo: error: {problem}", file=sys.stderr)
        return 2
    if SUMMARY.exists():
        shutil.rmtree(DEMO)
    elif DEMO.exists():
        print("demo: going on where the last one was stopped; make clean starts it anew", file=sys.stderr)
    DEMO.mkdir(exist_ok=True)
    try:
        told = run(runner, trainer)
    except subprocess.CalledProcessError as failed:
        print("demo: the command above failed; make demo resumes with this command", file=sys.stderr)
        return failed.returncode
    except KeyboardInterrupt:
        print("demo: stopped; make demo resumes", file=sys.stderr)
        return 130
    text = summary(runner, trainer, told)
    SUMMARY.write_text(text + "\n", encoding="utf-8")
    print("\n" + text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
