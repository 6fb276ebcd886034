"""The README says what is so: its commands exist, its links lead somewhere, its examples give what it shows."""

import os
import re
import shlex
import subprocess
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


@pytest.mark.parametrize("stage", ["corpus", "vocab", "tfrecords", "tpu-train", "convert", "tokenizer"])
def test_flags_that_it_names_exist(stage: str) -> None:
    python = ROOT / ".venv" / stage / "bin/python"
    if not python.exists():
        pytest.skip(f"{python} is missing; run make venv")
    module = f"stages.{stage.replace('-', '_')}"
    shown = subprocess.run(
        [python, "-m", module, "--help"], cwd=ROOT, capture_output=True, encoding="utf-8", check=True
    )
    for call in re.findall(rf"-m {module} ([^\n]*)", SHELL):
        for flag in re.findall(r"--[a-z-]+", call):
            assert flag in shown.stdout


@pytest.mark.parametrize("link", re.findall(r"\]\((?!https?:)([^)#]+)\)", README))
def test_links_lead_somewhere(link: str) -> None:
    assert (ROOT / link).exists()


def test_the_sample_and_the_models_are_as_it_says() -> None:
    configs = {path.stem for path in (ROOT / "stages/tpu_train/configs").glob("*.json")}
    for size, wordpiece, character in re.findall(r"\| `SIZE=(\w+)` .*\| (✓?) \| (✓?) \|", README):
        assert (f"wordpiece_tinysegmenter_{size}" in configs) == bool(wordpiece)
        assert (f"character_{size}" in configs) == bool(character)


def test_every_flags_value_is_accepted() -> None:
    for stage, flag in (
        ("corpus", "--skip-bad-lines"),
        ("tfrecords", "--max-predictions"),
        ("tpu_train", "--tpu-zone"),
    ):
        assert flag in README
        sources = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "stages" / stage).glob("*.py"))
        assert f'"{flag}"' in sources
