"""`pip install .`: the tokenizer class outside of this project, and AutoTokenizer without the code of a folder."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.tokenizer.test_model_folder import ROOT, TOKENS, write

# Without any path to the sources (-S): what is installed comes from the package alone.
LOADED = """
import sys
sys.path[:0] = sys.argv[1:3]
import tokenization
from transformers import AutoTokenizer
assert tokenization.__file__.startswith(sys.argv[1]), tokenization.__file__
tokenizer = AutoTokenizer.from_pretrained(sys.argv[3])
assert type(tokenizer) is tokenization.BertJapaneseTinySegmenterTokenizer
print(*tokenizer.tokenize("私は[MASK]です"))
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package as pip installs it from a copy of the checkout, which gets no build folder then."""
    copy, site = tmp_path_factory.mktemp("checkout"), tmp_path_factory.mktemp("site")
    for name in (
        "pyproject.toml",
        "README.md",
        "stages/words/tokenization.py",
        "stages/words/japanese_subwords.py",
    ):
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, copy / name)
    shutil.copytree(ROOT / "stages/released", copy / "stages/released")
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "pip",
            "--disable-pip-version-check",
            "--quiet",
            "install",
            "--no-deps",
            "--target",
            site,
            copy,
        ],
        capture_output=True,
        encoding="utf-8",
    )
    assert done.returncode == 0, done.stderr
    return site


def test_it_holds_modules_and_names_what_they_need(installed: Path) -> None:
    modules = {path.name for path in installed.rglob("*.py")}
    assert modules == {"tokenization.py", "japanese_subwords.py", "__init__.py"}
    [metadata] = installed.glob("*.dist-info/METADATA")
    needed = sorted(re.findall(r"^Requires-Dist: (\w+)", metadata.read_text(encoding="utf-8"), re.MULTILINE))
    assert needed == ["tinysegmenter3", "transformers"]


@pytest.mark.parametrize("kind", ["wordpiece", "character"])
def test_a_model_folder_loads_without_its_own_code(installed: Path, tmp_path: Path, kind: str) -> None:
    folder = write(tmp_path / kind / "tiny", kind)
    (folder / "config.json").write_text('{"model_type": "albert", "vocab_size": 11}')
    (folder / "tokenization.py").unlink()
    packages = Path(pytest.__file__).parents[1]
    done = subprocess.run(
        [sys.executable, "-S", "-W", "error", "-c", LOADED, installed, packages, folder],
        cwd=tmp_path,
        env={"PATH": os.environ["PATH"], "HOME": str(tmp_path), "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        encoding="utf-8",
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == TOKENS[kind]
