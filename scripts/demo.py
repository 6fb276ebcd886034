"""The sample corpus → two small models and their tokens, by the commands that people type; a summary at the end.

Trained with PyTorch, or, with TRAINER=tf1, with TensorFlow 1.15. Everything goes to demo/. A demo that was stopped
resumes; one that is finished starts anew.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from scripts.containers import ROOT
from scripts.run import act, chosen_runner
from stages.command.folders import MODELS as FOLDERS
from stages.command.folders import trainer as trainer_of
from stages.pipeline import variables

DEMO = Path("demo")
TIMES, SUMMARY = DEMO / "times.json", DEMO / "summary.txt"
SAMPLE = "scripts/sample/jasample-cirrussearch-content.json"
SENTENCE = "城下町から海辺まで道が通じ、春には多くの人が花を見に来ました。"
SIZE = "tiny"
# Model → the folder of its small version.
MODELS = {model: f"{FOLDERS[model]}/{SIZE}" for model in ("wordpiece", "character")}
# Small enough for two cores and a few minutes, large enough for the loss to fall: everything else is the recipe.
DATA = {
    "corpus": f"DUMP={SAMPLE} SHARDS=16",
    "vocab": "VOCAB_SIZE=3000 ALPHABET_SIZE=1200",
    "tfrecords": "SEQ_LENGTH=64 DUPE_FACTOR=10",
}
# Who trains → the commands for each model. `make train` converts the model as well.
TRAIN: dict[str, dict[str, tuple[str, ...]]] = {
    "torch": {"train": ("DEVICE=cpu STEPS=300", "FLAGS=--save-every 100")},
    "tf1": {
        "tpu-train": (
            "DEVICE=cpu BATCH=8 STEPS=300 WARMUP=30 LEARNING_RATE=0.002", "FLAGS=--save-every 100 --eval-steps 4"
        ),
        "convert": ("",),
    },
}  # fmt: skip


def commands(runner: str, trainer: str) -> dict[str, list[str]]:
    """The words of every command of the demo in order, by the name that its time has."""
    common = [f"DATA={DEMO}/data", f"MODELS={DEMO}/models", f"RUNNER={runner}"]
    words = {"set-up": ["images" if runner == "docker" else "venv"]}
    words |= {stage: [stage, *settings.split(), *common] for stage, settings in DATA.items()}
    stages = {**TRAIN[trainer], "tokenize": ("", f"TEXT={SENTENCE}")}
    for stage, (settings, *more) in stages.items():
        for model in MODELS:
            own = [f"MODEL={model}", f"SIZE={SIZE}", *settings.split()]
            words[f"{stage} {model}"] = [stage, *own, *common, *more]
    return words


def run(runner: str, trainer: str) -> dict[str, Any]:
    """Run every command; return the seconds of each, and the tokens of each model."""
    results: dict[str, Any] = json.loads(TIMES.read_text()) if TIMES.exists() else {"seconds": {}, "tokens": {}}
    seconds = results["seconds"]
    # Only what a command says counts, not the variables of the make that runs the demo.
    dropped = {*variables(), "MAKEFLAGS", "MAKEOVERRIDES", "MFLAGS", "MAKELEVEL"}
    environment = {name: value for name, value in os.environ.items() if name not in dropped}
    for name, words in commands(runner, trainer).items():
        print(f"\n$ {shlex.join(['make', *words])}", flush=True)
        start = time.monotonic()
        output = subprocess.PIPE if name.startswith("tokenize") else None
        command = ["make", "--no-print-directory", *words]
        done = subprocess.run(command, env=environment, stdout=output, encoding="utf-8", check=True)
        # A stage that an earlier demo has finished says so immediately: its time is the earlier one.
        seconds[name] = max(round(time.monotonic() - start, 1), seconds.get(name, 0.0))
        if output:
            print(done.stdout, end="")
            results["tokens"][name.split()[1]] = done.stdout.strip()
        TIMES.write_text(json.dumps(results, ensure_ascii=False))
    return results


def read(path: str) -> Any:
    """A JSON file of the demo, or the rows of a file of JSON lines."""
    text = Path(DEMO, path).read_text(encoding="utf-8")
    return json.loads(text) if path.endswith(".json") else [json.loads(line) for line in text.splitlines()]


def bars(losses: list[float], width: int = 24) -> str:
    """A curve as a line of blocks, from the highest to the lowest value."""
    cells = [losses[len(losses) * cell // width : len(losses) * (cell + 1) // width] for cell in range(width)]
    means = [sum(cell) / len(cell) for cell in cells if cell]
    low, high = min(means), max(means)
    return "".join("▁▂▃▄▅▆▇█"[round(7 * (mean - low) / ((high - low) or 1))] for mean in means)


def findings(trainer: str) -> Iterator[tuple[str, str]]:
    """The name of a command and a line about its output, from the manifests that the stages left."""
    manifest = read("data/corpus/manifest.json")
    counts, dropped = manifest["counts"], sum(sum(reasons.values()) for reasons in manifest["dropped"].values())
    yield (
        "corpus",
        f"{counts['articles_kept']:,} of {counts['documents_read']:,} articles, {counts['sentences_kept']:,} sentences "
        f"of {counts['characters_kept']:,} characters in {len(manifest['files'])} shards; dropped: {dropped:,}",
    )
    files = read("data/vocab/manifest.json")["files"]
    for model in MODELS:
        yield "vocab", f"{model}: {files[f'{FOLDERS[model]}/vocab.txt']['entries']:,} entries"
    for model in MODELS:
        manifest = read(f"data/tfrecords/{FOLDERS[model]}/manifest.json")
        counts, size = manifest["counts"], sum(file["bytes"] for file in manifest["files"].values())
        yield (
            "tfrecords",
            f"{model}: {counts['examples']:,} examples of {manifest['options']['seq_length']} tokens, "
            f"{size / 1e6:.1f} MB; {counts['masked_tokens'] / counts['tokens']:.0%} of the tokens masked",
        )
    for model, folder in MODELS.items():
        if trainer == "torch":
            rows = read(f"data/runs/{folder}/metrics.jsonl")
            losses = [row["loss"] for row in rows if row["of"] == "train"]
            evaluations = [row for row in rows if row["of"] == "held_out"]
        else:
            table = Path(DEMO, "data/checkpoints", folder, "train_loss.tsv").read_text().splitlines()[1:]
            losses = [float(line.split("\t")[1]) for line in table]
            evaluations = read(f"data/checkpoints/{folder}/eval_results.jsonl")
        first, last, name = evaluations[0], evaluations[-1], f"{next(iter(TRAIN[trainer]))} {model}"
        yield name, f"loss {losses[0]:.2f} {bars(losses)} {losses[-1]:.2f} in {last['step']:,} steps"
        yield (
            name,
            f"on held-out examples, after {first['step']:,} and {last['step']:,} steps: masked word loss "
            f"{first['masked_lm_loss']:.2f} → {last['masked_lm_loss']:.2f}, "
            f"right {first['masked_lm_accuracy']:.1%} → {last['masked_lm_accuracy']:.1%}",
        )
        manifest = read(f"models/{folder}/manifest.json")
        other = "TensorFlow's" if trainer == "tf1" else "the trained model's"
        yield (
            f"convert {model}" if trainer == "tf1" else name,
            f"{manifest['parameters']:,} parameters in {DEMO}/models/{folder}; its outputs and {other} "
            f"differ by {max(manifest['parity'].values()):.0e} at most",
        )


def summary(runner: str, trainer: str, results: dict[str, Any]) -> Iterator[str]:
    """The lines about the times, and what was made."""
    seconds = results["seconds"]
    minutes = (sum(seconds.values()) - seconds["set-up"]) / 60
    yield f"Two models in {minutes:.1f} minutes, RUNNER={runner}; set-up {seconds['set-up']:.0f} s\n"
    before = ""
    for name, text in findings(trainer):
        head = f"{name:<20}{seconds[name]:>5.0f} s" if name != before else ""
        yield f"{head:<29}{text}"
        before = name
    yield f"\n{SENTENCE}"
    for model in MODELS:
        yield f"  {model:<11}{results['tokens'][model]}"
    yield "\nWhat the models put in place of a mask, after so little training:"
    filled = {model: read(f"models/{folder}/manifest.json")["filled_masks"] for model, folder in MODELS.items()}
    for number, first in enumerate(filled["wordpiece"]):
        yield f"  {first['text']}"
        for model, masks in filled.items():
            words = "  ".join(f"{word} {share:.0%}" for word, share in masks[number]["words"])
            yield f"    {model:<11}{words}"
    if trainer == "torch":
        folders = " and ".join(f"{DEMO}/data/runs/{folder}" for folder in MODELS.values())
        yield f"\nThe curves: progress.png in {folders}. With TensorFlow 1.15: make demo TRAINER=tf1"
    yield f"\nGo on with: make tokenize TEXT=… MODEL=character SIZE={SIZE} MODELS={DEMO}/models"
    yield f"or: make serve MODELS={DEMO}/models, and http://localhost:8000 in a browser"


def demo() -> int:
    """Run the demo and print its summary."""
    runner, trainer = chosen_runner(), trainer_of(os.environ, "torch")
    if SUMMARY.exists():
        shutil.rmtree(DEMO)
    elif DEMO.exists():
        print("demo: going on where the last one was stopped; make clean starts it anew", file=sys.stderr)
    DEMO.mkdir(exist_ok=True)
    try:
        text = "\n".join(summary(runner, trainer, run(runner, trainer)))
    except subprocess.CalledProcessError:
        print("demo: the command above failed; make demo resumes with this command", file=sys.stderr)
        raise
    except KeyboardInterrupt:
        print("demo: stopped; make demo resumes", file=sys.stderr)
        return 130
    SUMMARY.write_text(text + "\n", encoding="utf-8")
    print("\n" + text)
    return 0


if __name__ == "__main__":
    os.chdir(ROOT)
    sys.exit(act("scripts.demo", {"demo": demo}, ["demo"]))
