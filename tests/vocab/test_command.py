"""The vocab command: the same bytes every time, what it refuses."""

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from stages.words.japanese_subwords import normalise, read_vocabulary, split_words, wordpieces

ROOT = Path(__file__).resolve().parents[2]
SIZES = ("--vocab-size", 3000, "--alphabet-size", 1200)


def test_five_runs_give_the_same_bytes(run_stage: Any, corpus: Path, vocab: Path, tmp_path: Path) -> None:
    for number in range(4):
        out = tmp_path / str(number)
        run_stage("vocab", "--corpus", corpus, "--out", out, *SIZES, "--jobs", 1 + number % 2)
        for name in ("wordpiece_tinysegmenter/vocab.txt", "character/vocab.txt", "manifest.json"):
            assert (out / name).read_bytes() == (vocab / name).read_bytes()


def test_the_vocabularies_and_their_manifest(vocab: Path, corpus: Path) -> None:
    manifest = json.loads((vocab / "manifest.json").read_text())
    wordpiece = read_vocabulary(str(vocab / "wordpiece_tinysegmenter/vocab.txt"))
    character = read_vocabulary(str(vocab / "character/vocab.txt"))
    assert manifest["files"]["wordpiece_tinysegmenter/vocab.txt"]["entries"] == len(wordpiece) == 3000
    assert manifest["files"]["character/vocab.txt"]["entries"] == len(character) == 15 + manifest["counts"]["alphabet"]
    assert list(wordpiece)[: len(character)] == list(character)
    assert not [entry for entry in wordpiece if any(c.isspace() for c in entry)], "inference never produces these"

    tokens = unknown = 0
    for shard in corpus.glob("corpus_*.txt"):
        for line in shard.read_text(encoding="utf-8").splitlines():
            for word in split_words(normalise(line)):
                pieces = wordpieces(word, wordpiece)
                unknown += pieces is None
                tokens += 1 if pieces is None else len(pieces)
    assert unknown / tokens < 0.05, "the 1,200 most frequent characters cover the sample"


def test_a_finished_run_is_left_alone_and_another_refused(run_stage: Any, corpus: Path, vocab: Path) -> None:
    before = (vocab / "manifest.json").stat().st_mtime_ns
    assert "finished already" in run_stage("vocab", "--corpus", corpus, "--out", vocab, *SIZES).stderr
    done = run_stage("vocab", "--corpus", corpus, "--out", vocab, *SIZES, "--seed", 7, code=2)
    assert "options.seed was 12345 and is now 7" in done.stderr
    assert (vocab / "manifest.json").stat().st_mtime_ns == before


def test_a_small_corpus_gives_a_small_vocabulary_and_says_so(run_stage: Any, corpus: Path, tmp_path: Path) -> None:
    done = run_stage("vocab", "--corpus", corpus, "--out", tmp_path / "v")
    entries = json.loads((tmp_path / "v/manifest.json").read_text())["files"]["wordpiece_tinysegmenter/vocab.txt"][
        "entries"
    ]
    assert f"the corpus gives {entries:,} entries, not 32,768" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--vocab-size", 500), "--vocab-size is too small"),
        (("--sample", 0), "--sample: 0 is no whole number of 1 or more"),
        (("--jobs", -1), "--jobs: -1 is no whole number from 1 to 10000"),
    ],
)
def test_invalid_options_are_refused(run_stage: Any, corpus: Path, tmp_path: Path, arguments: Any, said: str) -> None:
    assert said in run_stage("vocab", "--corpus", corpus, "--out", tmp_path / "v", *arguments, code=2).stderr


def test_missing_and_changed_corpora_are_refused(run_stage: Any, corpus: Path, tmp_path: Path) -> None:
    out = tmp_path / "v"
    done = run_stage("vocab", "--corpus", tmp_path / "nothing", "--out", out, code=2)
    assert "there is no folder" in done.stderr
    assert "make corpus" in done.stderr
    changed = tmp_path / "changed"
    shutil.copytree(corpus, changed)
    with (changed / "corpus_00001.txt").open("a", encoding="utf-8") as stream:
        stream.write("あとから足した行である。\n\n")
    done = run_stage("vocab", "--corpus", changed, "--out", out, *SIZES, code=2)
    assert "corpus_00001.txt is not what make corpus wrote" in done.stderr
    (changed / "corpus_00001.txt").unlink()
    assert "corpus_00001.txt is missing" in run_stage("vocab", "--corpus", changed, "--out", out, *SIZES, code=2).stderr
    assert not (out / "manifest.json").exists()


@pytest.mark.parametrize("jobs", [1, 2])
def test_without_the_compiled_library(corpus: Path, tmp_path: Path, jobs: int) -> None:
    ignored = shutil.ignore_patterns("*.so", "__pycache__")
    shutil.copytree(ROOT / "stages", tmp_path / "stages", ignore=ignored)
    python = str(ROOT / ".venv/vocab/bin/python")
    arguments = ["--corpus", str(corpus), "--out", str(tmp_path / "v"), "--jobs", str(jobs)]
    done = subprocess.run(
        [python, "-m", "stages.vocab", *arguments], cwd=tmp_path, capture_output=True, encoding="utf-8"
    )
    assert done.returncode == 2, done.stderr
    assert "words.c is not compiled for this machine" in done.stderr
    assert "make venv compiles it" in done.stderr
    assert "Traceback" not in done.stderr
