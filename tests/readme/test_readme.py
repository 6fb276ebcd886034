"""The README says what is so: its commands exist, its links lead somewhere, its examples give what it shows."""

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
SHELL = "\n".join(re.findall(r"```bash\n(.*?)```", README, re.DOTALL)).replace("\\\n", " ")
MAKE = sorted(
    {found.strip() for found in [*re.findall(r"^make [^#\n]*", SHELL, re.M), *re.findall(r"`(make [^`]*)`", README)]}
)


def environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}


def test_it_has_commands() -> None:
    assert len(MAKE) > 12
    assert {"make demo", "make test", "make doctor"} <= set(MAKE)


@pytest.mark.parametrize("command", MAKE)
def test_make_knows_every_target_and_variable(command: str) -> None:
    words = shlex.split(command.replace("…", "x"))
    done = subprocess.run([*words, "-n"], cwd=ROOT, env=environment(), capture_output=True, encoding="utf-8")
    assert done.returncode == 0, done.stderr
    known = set((ROOT / "Makefile").read_text(encoding="utf-8").replace("export", "").split())
    for word in words[1:]:
        if "=" in word:
            assert word.split("=")[0] in known, word


# Every flag in the README that is a stage's own, and how to ask that stage for its help.
FLAGS = {
    "corpus": {"--dump", "--skip-bad-lines", "--skip-ids"},
    "vocab": {"--vocab-size"},
    "tfrecords": {"--max-predictions"},
    "tpu-train": {"--max-predictions", "--check", "--storage", "--scratch"},
    "train": {"--precision"},
    "convert": {"--checkpoint", "--config", "--vocab", "--out", "--verify"},
    "tokenizer encode": {"--model", "--max-length", "--from"},
    "tokenizer fill-mask": {"--model", "--top-k"},
    "tokenizer serve": {"--quiet"},
}
# docker's, curl's, gcloud's, everybody's
OTHERS = {"--rm", "--profile", "--scale", "--json", "--zone", "--accelerator-type", "--version", "--help"}


def test_no_flag_is_forgotten_here() -> None:
    named = set(re.findall(r"(?<![\w-])--[a-z]+(?:-[a-z]+)*", README))
    assert named - OTHERS == set().union(*FLAGS.values())


@pytest.mark.parametrize("command", FLAGS)
def test_flags_that_it_names_exist(command: str) -> None:
    stage, *more = command.split()
    python = ROOT / ".venv" / stage / "bin/python"
    if not python.exists():
        pytest.skip(f"{python} is missing; run make venv")
    shown = subprocess.run(
        [python, "-m", f"stages.{stage.replace('-', '_')}", *more, "--help"],
        cwd=ROOT,
        capture_output=True,
        encoding="utf-8",
        check=True,
    )
    assert FLAGS[command] <= set(re.findall(r"--[a-z-]+", shown.stdout))


def test_the_cost_of_training_is_what_is_computed() -> None:
    done = subprocess.run(
        [sys.executable, "scripts/training_cost.py"], cwd=ROOT, capture_output=True, encoding="utf-8", check=True
    )
    assert len(done.stdout.splitlines()) == 9
    assert done.stdout in README


@pytest.mark.parametrize("link", re.findall(r"\]\((?!https?:)([^)#]+)\)", README))
def test_links_lead_somewhere(link: str) -> None:
    assert (ROOT / link).exists()


def test_the_models_are_as_it_says() -> None:
    """Every row of the models table, against the configurations: which exist, and their three sizes."""
    rows = [[cell.strip() for cell in row.split("|")[1:-1]] for row in re.findall(r"^\| `SIZE=.*$", README, re.M)]
    told = {}
    for size, *shape, wordpiece, character in rows:
        name = size.strip("`").removeprefix("SIZE=")
        for model, there in (("wordpiece_tinysegmenter", wordpiece), ("character", character)):
            if there:
                told[f"{model}_{name}"] = [int(number) for number in shape]
    sizes = ("num_hidden_layers", "hidden_size", "intermediate_size")
    found = {}
    for path in (ROOT / "stages/tpu_train/configs").glob("*.json"):
        config = json.loads(path.read_text())
        found[path.stem] = [config[name] for name in sizes]
    assert told == found
    assert len(found) == 7
