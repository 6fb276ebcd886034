"""A dataclass of options → command line, environment, limits, help, options in the manifest."""

import argparse
import ast
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Optional, Tuple

import pytest

from stages.command.options import REQUIRED, decisive, option, options_of, parse, path
from stages.command.refusal import Refusal

ROOT = Path(__file__).resolve().parents[2]


def _upper(text: str) -> str:
    if not text.isalpha():
        raise argparse.ArgumentTypeError(f"{text!r} is no word")
    return text.upper()


@dataclass(frozen=True)
class Options:
    out: str = path(REQUIRED, "where to")
    size: int = option(5, "how large, 10 % of it", unit="L", least=1, most=8, decides=True)
    rate: Optional[float] = option(None, "how fast (default: as it comes)", least=0)
    way: str = option("left", "where", choices=("left", "right"), decides=True)
    word: Optional[str] = option(None, "a word", checked=_upper)
    seed: Tuple[int, ...] = option((1,), "seeds", least=0, several=True)
    dry: bool = option(False, "no water")
    host: str = option("here", "which host", variable="")
    jobs: int = option(lambda: 3, "how many", least=1)

    def conflict(self) -> Optional[str]:
        return "--dry and --rate do not go together" if self.dry and self.rate else None


def read(*arguments: str, **environment: str) -> Options:
    return parse(Options, "trial", "A trial.", arguments, environment=environment)


def test_the_command_line_has_priority_over_the_environment_and_the_default() -> None:
    assert read("--out", "o") == Options("o", 5, None, "left", None, (1,), False, "here", 3)
    values = read(
        "--out", "o", SIZE="7", RATE="0.5", WAY="right", WORD="ab", SEED="4 5", DRY="0", JOBS=" 2 ", HOST="x", OUT="p"
    )
    assert values == Options("o", 7, 0.5, "right", "AB", (4, 5), False, "here", 2)
    assert read("--out", "o", "--size", "2", "--seed", "8", "9", SIZE="7", SEED="4").size == 2
    assert read("--out", "o", DRY="1").dry
    assert read("--out", "o", SIZE="") == read("--out", "o")


def test_a_required_option_may_come_from_the_environment() -> None:
    @dataclass(frozen=True)
    class Needed:
        task: str = option(REQUIRED, "what", choices=("a", "b"))

    assert parse(Needed, "trial", None, [], environment={"TASK": "b"}) == Needed("b")


@pytest.mark.parametrize(
    ("arguments", "environment", "message"),
    [
        (["--size", "9"], {}, "argument --size: 9 is no whole number from 1 to 8"),
        (["--size", "1.5"], {}, "argument --size: 1.5 is no whole number from 1 to 8"),
        (["--rate", "nan"], {}, "argument --rate: nan is no number of 0 or more"),
        (["--rate", "inf"], {}, "argument --rate: inf is no number of 0 or more"),
        (["--way", "up"], {}, "argument --way: invalid choice: 'up'"),
        (["--word", "1"], {}, "argument --word: '1' is no word"),
        (["--seed", "1", "-1"], {}, "argument --seed: -1 is no whole number of 0 or more"),
        ([], {"SIZE": "9"}, "SIZE (--size): 9 is no whole number from 1 to 8"),
        ([], {"WAY": "up"}, "WAY (--way): up is not left or right"),
        ([], {"DRY": "yes"}, "DRY (--dry): yes is neither 1 nor 0"),
        ([], {"SEED": "1 x"}, "SEED (--seed): x is no whole number of 0 or more"),
    ],
)
def test_invalid_values_are_refused(
    capsys: Any, arguments: list[str], environment: dict[str, str], message: str
) -> None:
    with pytest.raises(SystemExit, match="2"):
        read("--out", "o", *arguments, **environment)
    assert f"trial: error: {message}" in capsys.readouterr().err


def test_options_that_contradict_each_other_are_refused() -> None:
    with pytest.raises(Refusal, match="--dry and --rate do not go together"):
        read("--out", "o", "--dry", "--rate", "1")


def test_help_and_manifest_follow_from_the_dataclass(capsys: Any) -> None:
    with pytest.raises(SystemExit, match="0"):
        read("--help")
    shown = capsys.readouterr().out
    assert "--size L " in shown
    assert "how large, 10 % of it (default: 5)" in shown
    assert "how fast (default: as it comes)\n" in shown
    assert "how many (default: 3)" in shown
    assert decisive(read("--out", "o")) == {"size": 5, "way": "left"}
    assert [each.variable for each in options_of(Options)][:4] == ["", "SIZE", "RATE", "WAY"]


def test_options_are_read_without_packages_by_python_3_7_and_later() -> None:
    """`make` reads them with the Python of the machine, and tpu-train with 3.7."""
    modules = sorted(path.parent.name for path in ROOT.glob("stages/*/options.py"))
    assert len(modules) >= 10
    for module in modules:
        text = (ROOT / "stages" / module / "options.py").read_text()
        ast.parse(text, feature_version=(3, 7))
        # The types of fields are evaluated, which 3.7 to 3.9 cannot do with these.
        assert not re.search(r"^    \w+: .*(\| None|\b(list|dict|tuple)\[).* = ", text, re.MULTILINE), module
    program = "import importlib, sys\nfor name in sys.argv[1:]: importlib.import_module(f'stages.{name}.options')\n"
    subprocess.run([sys.executable, "-S", "-c", program, *modules], cwd=ROOT, check=True)


@dataclass(frozen=True)
class Paths:
    corpus: str = path("{data}/corpus", "folder of the corpus")
    out: str = path("{training}/out/{model}/{size}/{task}", "folder of the result")
    card: Optional[str] = path("{models}/{model}/card", "a card", if_there=True)
    dump: Tuple[str, ...] = path("latest", "what to read", several=True, variable="DUMP")
    found: Optional[str] = path(lambda environment: environment.get("FOUND"), "what a function finds")
    task: str = option("jsts", "what to learn")


def paths(*arguments: str, **environment: str) -> Paths:
    return parse(Paths, "trial", None, arguments, environment=environment)


def test_paths_follow_from_the_variables_of_the_flow(tmp_path: Path) -> None:
    (tmp_path / "character/card").mkdir(parents=True)
    assert paths(MODEL="wordpiece") == Paths(
        "data/corpus", "data/out/wordpiece_tinysegmenter/base/jsts", None, ("latest",), None, "jsts"
    )
    variables = {"DATA": "/d/", "WORK_DIR": "gs://b/w", "MODELS": str(tmp_path), "MODEL": "character", "SIZE": "tiny"}
    values = paths("--task", "ner", **variables, DUMP="a b.gz", FOUND="{x}")
    assert values == Paths(
        "/d/corpus", "gs://b/w/out/character/tiny/ner", f"{tmp_path}/character/card", ("a b.gz",), "{x}", "ner"
    )
    assert paths("--out", "o", "--dump", "a", "b") == Paths("data/corpus", "o", None, ("a", "b"), None, "jsts")


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        ({}, "say MODEL=wordpiece or MODEL=character"),
        ({"MODEL": "bert"}, "MODEL=bert is neither wordpiece nor character"),
        ({"MODEL": "character", "SIZE": "large"}, "SIZE=large is none of base, medium, small, tiny"),
        ({"DATA": "s3://b/run"}, "DATA=s3://b/run is neither a folder nor gs://…"),
    ],
)
def test_a_wrong_variable_of_the_flow_is_refused(environment: dict[str, str], message: str) -> None:
    with pytest.raises(Refusal, match=message):
        paths(**environment)
