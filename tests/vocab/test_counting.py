"""The words of a corpus: those of the sample, split and counted as at inference."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from stages.command.refusal import Refusal
from stages.formats.corpus import documents
from stages.handover.storage import sha256
from stages.vocab.sampling import ShardSample, count_words, sample_mask
from stages.words.japanese_subwords import normalise, split_words


def sentences(corpus: Path, name: str, description: dict[str, Any]) -> list[str]:
    return [normalise(sentence) for article in documents(str(corpus), name, description) for sentence in article]


@pytest.mark.parametrize("share", [1, 3])
def test_words_are_those_of_the_sampled_sentences(corpus: Path, share: int) -> None:
    files = json.loads((corpus / "manifest.json").read_text())["files"]
    samples, expected = [], Counter[str]()
    for number, (name, description) in enumerate(sorted(files.items())):
        size = description["sentences"] // share
        samples.append(ShardSample(str(corpus), number, name, description, size, 5))
        mask = sample_mask(description["sentences"], size, 5, number)
        for sentence, present in zip(sentences(corpus, name, description), mask, strict=True):
            if present:
                expected.update(split_words(sentence))
    assert count_words(samples) == {word: count for word, count in expected.items() if len(word) <= 100}
    assert Counter(count_words(samples[:1])) + Counter(count_words(samples[1:])) == Counter(count_words(samples))


def test_words_are_normalised_and_cut_at_white_space(tmp_path: Path) -> None:
    path = tmp_path / "corpus_00000.txt"
    path.write_text("東京 タワーは、 ﾄｳｷｮｳに ある。\n[MASK]と" + "a" * 300 + "\n\n", encoding="utf-8")
    description = {"sentences": 2, "sha256": sha256(str(path))}
    words = count_words([ShardSample(str(tmp_path), 0, path.name, description, 2, 1)])
    assert words["トウキョウ"] == 1, "half-width forms are normalised"
    assert not [word for word in words if any(character.isspace() for character in word) or len(word) > 100]
    with pytest.raises(Refusal, match=r"corpus_00000.txt has 2 sentences, its manifest says 3; make the corpus again"):
        count_words([ShardSample(str(tmp_path), 0, path.name, {**description, "sentences": 3}, 3, 1)])
