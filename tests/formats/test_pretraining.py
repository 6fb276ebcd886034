"""Which of configuration and TFRecords decides the vocabulary size of the model that is trained."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from stages.formats.pretraining import disagreements, takes_size, trained_config
from stages.formats.shards import Shards

CONFIG = {"vocab_size": 6144, "max_position_embeddings": 512}


def shards(sha256: str | None) -> Shards:
    return Shards("t", ["a"], ["b"], 9, 64, 9, 1200, sha256, None, {})


def options(vocab: Path | None, flag: bool = False) -> Any:
    return SimpleNamespace(
        vocab=str(vocab) if vocab else None, vocab_size_from_tfrecords=flag, seq_length=None, max_predictions=None,
        on_tpu=False, config="c.json",
    )  # fmt: skip


@pytest.fixture
def vocabulary(tmp_path: Path) -> Path:
    """A vocabulary that the stage vocab made, by its manifest."""
    files = {"character/vocab.txt": {"sha256": "a", "bytes": 1}}
    (tmp_path / "manifest.json").write_text(json.dumps({"stage": "vocab", "files": files}))
    return tmp_path / "character" / "vocab.txt"


def test_a_vocabulary_that_vocab_made_decides_the_size_of_the_model(vocabulary: Path) -> None:
    assert trained_config(CONFIG, shards("a"), options(vocabulary))["vocab_size"] == 1200
    assert list(disagreements(CONFIG, shards("a"), options(vocabulary))) == []


@pytest.mark.parametrize("case", ["of other TFRecords", "from elsewhere", "none", "unknown"])
def test_a_vocabulary_from_elsewhere_must_have_the_right_size(vocabulary: Path, case: str) -> None:
    given = vocabulary
    if case == "from elsewhere":
        (vocabulary.parents[1] / "manifest.json").unlink()
    if case == "none":
        given = None  # type: ignore[assignment]
    other = shards({"of other TFRecords": "b", "unknown": None}.get(case, "a"))
    assert takes_size(options(given), other) is False
    [sentence] = disagreements(CONFIG, other, options(given))
    assert "vocabulary of 1200, c.json has vocab_size 6144" in sentence
    assert takes_size(options(given, flag=True), other) is True
