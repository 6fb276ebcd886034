"""A model folder's tokenizer files, and the ways to load them, each in a Python of its own as users have it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from stages.words.model_folder import write_tokenizer

ROOT = Path(__file__).parents[2]
SOURCES = ROOT / "stages/words"
VOCABULARY = "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\n \n私\nは\nで\nす\nです\n"
TOKENS = {"wordpiece": "私 は [MASK] です", "character": "私 は [MASK] で す"}


def write(folder: Path, kind: str) -> Path:
    vocabulary = folder.parent / f"{folder.name}.txt"
    vocabulary.parent.mkdir(exist_ok=True)
    vocabulary.write_text(VOCABULARY, encoding="utf-8", newline="\n")
    write_tokenizer(folder, vocabulary, kind, max_length=128)
    return folder


@pytest.mark.parametrize("kind", ["wordpiece", "character"])
def test_files(tmp_path: Path, kind: str) -> None:
    one, two = write(tmp_path / "one", kind), write(tmp_path / "two", kind)
    expected = {name: (SOURCES / name).read_bytes() for name in ("tokenization.py", "japanese_subwords.py")}
    expected["vocab.txt"] = VOCABULARY.encode()
    names = sorted(os.listdir(one))
    assert names == sorted([*expected, "tokenizer_config.json"])
    assert {name: (one / name).read_bytes() for name in expected} == expected
    assert [(one / name).read_bytes() for name in names] == [(two / name).read_bytes() for name in names]
    config = (one / "tokenizer_config.json").read_text(encoding="utf-8")
    assert f'"subword_tokenizer_type": "{kind}"' in config
    assert '"model_max_length": 128' in config


def test_a_vocabulary_is_kept_to_the_byte(tmp_path: Path) -> None:
    vocabulary = tmp_path / "vocab.txt"
    vocabulary.write_bytes(VOCABULARY.rstrip("\n").encode())
    write_tokenizer(tmp_path / "model", vocabulary, "wordpiece")
    assert (tmp_path / "model/vocab.txt").read_bytes() == vocabulary.read_bytes()


LOADS = {
    "by its own name": "from tokenization import BertJapaneseTinySegmenterTokenizer\n"
    "t = BertJapaneseTinySegmenterTokenizer.from_pretrained(folder)",
    "with the folder's code": "t = AutoTokenizer.from_pretrained(folder, trust_remote_code=True)",
    "without, once imported": "import tokenization\nt = AutoTokenizer.from_pretrained(folder)\n"
    "assert type(t) is tokenization.BertJapaneseTinySegmenterTokenizer",
}


def load(code: str, folder: Path, home: Path) -> str:
    """Run in `home`, away from the repository, with the sources on the path as they are in .venv/convert."""
    script = (
        "import pickle, sys, tempfile\nfrom transformers import AutoTokenizer\n"
        f"folder = sys.argv[1]\n{code}\n"
        "tokens = t.tokenize('私は[MASK]です')\n"
        "assert pickle.loads(pickle.dumps(t)).tokenize('私は[MASK]です') == tokens\n"
        "t.save_pretrained(sys.argv[2])\n"
        "print(*tokens)"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", script, folder, home / "saved"],
        cwd=home,
        env={
            "PATH": os.environ["PATH"],
            "HOME": str(home),
            "HF_HUB_OFFLINE": "1",
            "PYTHONPATH": f"{SOURCES}{os.pathsep}{ROOT}",
        },
        capture_output=True,
        encoding="utf-8",
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.parametrize("way", LOADS)
@pytest.mark.parametrize("kind", ["wordpiece", "character"])
def test_ways_to_load(tmp_path: Path, kind: str, way: str) -> None:
    folder = write(tmp_path / kind / "tiny", kind)
    # AutoTokenizer looks at the model's configuration first; a converted model has one.
    (folder / "config.json").write_text('{"model_type": "albert", "vocab_size": 11}')
    assert load(LOADS[way], folder, tmp_path) == TOKENS[kind]
    for name in ("vocab.txt", "tokenization.py", "japanese_subwords.py"):
        assert (tmp_path / "saved" / name).read_bytes() == (folder / name).read_bytes()


def test_two_folders_of_one_name_with_their_code(tmp_path: Path) -> None:
    """`character/tiny` and `wordpiece_tinysegmenter/tiny` share one cached copy of the code."""
    folders = {kind: write(tmp_path / kind / "tiny", kind) for kind in TOKENS}
    for kind, folder in folders.items():
        assert load(LOADS["with the folder's code"], folder, tmp_path) == TOKENS[kind]


def test_other_albert_models_keep_their_tokenizer(tmp_path: Path) -> None:
    """Importing `tokenization` does not make every ALBERT's tokenizer ours."""
    (tmp_path / "config.json").write_text('{"model_type": "albert"}')
    code = "import tokenization\nfrom transformers.models.auto.tokenization_auto import TOKENIZER_MAPPING\n"
    code += "from transformers import AlbertConfig\nprint(TOKENIZER_MAPPING[AlbertConfig].__name__)\n"
    folder = write(tmp_path / "tiny", "wordpiece")
    shown = load(code + LOADS["by its own name"], folder, tmp_path).splitlines()
    assert shown[0] != "BertJapaneseTinySegmenterTokenizer"


def test_the_missing_package_is_named() -> None:
    """`pip install tinysegmenter` is what the module's name suggests, and another project."""
    script = "import sys\nsys.modules['tinysegmenter'] = None\nimport stages.words.japanese_subwords"
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, encoding="utf-8")
    assert "ImportError: words are split by tinysegmenter3; pip install tinysegmenter3==0.1.0" in done.stderr


def test_the_converting_environment_has_the_class_on_its_path(tmp_path: Path) -> None:
    """`from tokenization import …` there, from any folder."""
    python = ROOT / ".venv/convert/bin/python"
    if not python.exists():
        pytest.skip(f"{python} is missing; run make venv")
    script = "import importlib.util; print(importlib.util.find_spec('tokenization').origin)"
    found = subprocess.run([python, "-c", script], cwd=tmp_path, capture_output=True, encoding="utf-8", check=True)
    assert found.stdout.strip() == str(SOURCES / "tokenization.py")
