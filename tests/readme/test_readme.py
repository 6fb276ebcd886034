"""The READMEs say what is so: its commands exist, its links lead somewhere, its examples give what it shows."""

import json
import os
import re
import shlex
import subprocess
from pathlib import Path

import pytest

from scripts.readmes import classes, costs
from stages.command.options import options_of
from stages.pipeline import STAGES, variables

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
ROOMS = {
    path: path.read_text(encoding="utf-8") for path in [ROOT / "stages/README.md", *ROOT.glob("stages/*/README.md")]
}
EVERY = "\n".join([README, *ROOMS.values()])
SHELL = "\n".join(re.findall(r"```bash\n(.*?)```", EVERY, re.DOTALL)).replace("\\\n", " ")
MAKE = sorted(
    {found.strip() for found in [*re.findall(r"^make [^#\n]*", SHELL, re.M), *re.findall(r"`(make [^`]*)`", EVERY)]}
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
    for word in words[1:]:
        if "=" in word:
            assert word.split("=")[0] in variables(), word


# docker's, curl's, gcloud's, everybody's
OTHERS = {"--rm", "--no-deps", "--profile", "--scale", "--json", "--zone", "--accelerator-type", "--version", "--help"}


def test_flags_that_it_names_exist() -> None:
    folders = {stage.module.split(".")[1] for stage in STAGES.values()}
    known = {each.flag for folder in folders for kind in classes(folder) for each in options_of(kind)}
    named = set(re.findall(r"(?<![\w-])--[a-z]+(?:-[a-z]+)*", EVERY))
    assert named - OTHERS <= known


def test_the_cost_of_training_is_what_is_computed() -> None:
    assert len(costs().splitlines()) == 9
    assert costs() in (ROOT / "stages/train/README.md").read_text(encoding="utf-8")


LINKS = [
    (path.parent, link)
    for path, text in [(ROOT / "README.md", README), *ROOMS.items()]
    for link in re.findall(r"\]\((?!https?:)([^)#]+)[)#]", text)
]


@pytest.mark.parametrize(("folder", "link"), LINKS, ids=[f"{folder.name}/{link}" for folder, link in LINKS])
def test_links_lead_somewhere(folder: Path, link: str) -> None:
    assert (folder / link).exists()


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
