"""The models that come with this project: where they are found, what they fill in, how large they are."""

import json
from pathlib import Path
from typing import Any

import pytest

from stages.words.reading import resolve_folder

ROOT = Path(__file__).resolve().parents[2]
RELEASED = ROOT / "stages" / "released"
MODELS = sorted(str(path.parent.relative_to(RELEASED)) for path in RELEASED.glob("*/*/config.json"))


@pytest.mark.parametrize("model", MODELS)
def test_a_model_is_whole_and_has_its_card(model: str) -> None:
    listed = json.loads((RELEASED / model / "manifest.json").read_text())["files"]
    sizes = {name: (RELEASED / model / name).stat().st_size for name in listed}
    # The tokenizer's code is this project's own, by a link.
    code = {"tokenization.py", "japanese_subwords.py"}
    assert all(size == listed[name]["bytes"] for name, size in sizes.items() if name not in code)
    assert {name for name in listed if (RELEASED / model / name).is_symlink()} == code
    card = (RELEASED / model / "README.md").read_text()
    for word in ("license: cc-by-sa-4.0", "Aozora", "Wikipedia", "## Limits"):
        assert word in card


def test_they_are_small() -> None:
    assert sum(path.stat().st_size for path in RELEASED.rglob("*") if not path.is_symlink()) < 30_000_000


def test_a_mask_is_filled_without_any_model_of_ones_own(run_stage: Any, tmp_path: Path) -> None:
    masked = tmp_path / "masked.txt"
    masked.write_text("日本の首都は[MASK]京である。\n彼は毎朝、駅[MASK]行く。\n")
    filled = run_stage("tokenizer", "fill-mask", "--model", "released/character/tiny", masked).stdout
    [place, case] = filled.splitlines()
    assert "東" in place.split()[::2]
    assert {"へ", "に"} & set(case.split()[::2])


def test_a_folder_of_the_same_name_is_taken_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert resolve_folder("released/character/tiny") == str(RELEASED / "character" / "tiny")
    (tmp_path / "released" / "character" / "tiny").mkdir(parents=True)
    assert resolve_folder("released/character/tiny") == "released/character/tiny"
    assert resolve_folder("models/released") == "models/released"


def test_a_name_that_is_none_is_refused(run_stage: Any) -> None:
    said = run_stage("tokenizer", "tokenize", "--model", "released/none", code=2).stderr
    names = "released/character/tiny, released/wordpiece_tinysegmenter/tiny"
    assert f"no model released/none comes with this project; there is {names}" in said
