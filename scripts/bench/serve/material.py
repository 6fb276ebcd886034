"""The material of `make bench` → the text, the models and the sentences that the tokenizer's image is measured with."""

import dataclasses
import json
import os
import random
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path

from scripts.bench import material
from scripts.bench.running import run

NAMES = {"character": "character/tiny", "wordpiece": "wordpiece_tinysegmenter/tiny"}
# Of `make bench`, whose yardsticks for words ask for 200,000 characters and more.
SLICE_CHARACTERS = 2_000_000


@dataclasses.dataclass(frozen=True)
class Size:
    """How much is measured. Rounds alternate the two sides; seconds are those of a round of requests."""

    text: material.Size
    rounds: int
    starts: int
    seconds: float
    batches: int
    soak_minutes: float


FULL = Size(material.FULL, rounds=5, starts=15, seconds=4, batches=10, soak_minutes=10)
QUICK = Size(material.QUICK, rounds=1, starts=1, seconds=0.5, batches=1, soak_minutes=0.1)


class Material:
    """The files of one run, in the folder `work`, which the caller removes."""

    def __init__(self, work: Path, size: Size) -> None:
        self.work, self.size = work, size
        self.text = material.Material(work, size.text)

    @cached_property
    def models(self) -> Path:
        """A folder of both tiny models, with random weights and model.onnx."""
        out = self.work / "models"
        run("convert", "scripts.bench.measured.served_models", self.text.vocab, out, one_core=False)
        return out

    @cached_property
    def lines(self) -> Path:
        """Every sentence of the corpus, a line each."""
        return self._lines("lines.txt", self.text.sentences)

    @cached_property
    def fewer_lines(self) -> Path:
        """The first sentences, of SLICE_CHARACTERS: their ids as JSON take a hundred bytes a character."""
        left, fewer = SLICE_CHARACTERS, []
        for sentence in self.text.sentences:
            left -= len(sentence)
            if left < 0:
                break
            fewer.append(sentence)
        return self._lines("fewer.txt", fewer)

    @cached_property
    def usual_sentences(self) -> list[str]:
        """64 sentences of 30 to 50 characters from all over the corpus."""
        fit = [sentence for sentence in self.text.sentences if 30 <= len(sentence) <= 50]
        return random.Random(6).sample(fit, 64)

    @cached_property
    def masked_sentences(self) -> list[str]:
        """32 of them, a character of each behind a [MASK]."""
        draw = random.Random(6)
        places = [(sentence, draw.randrange(len(sentence))) for sentence in self.usual_sentences[:32]]
        return [f"{sentence[:place]}[MASK]{sentence[place + 1 :]}" for sentence, place in places]

    def write(self, name: str, value: object) -> Path:
        """A JSON file."""
        path = self.work / name
        path.write_text(json.dumps(value, ensure_ascii=False), encoding="utf-8")
        return path

    def _lines(self, name: str, sentences: list[str]) -> Path:
        path = self.work / name
        path.write_text("".join(sentence + "\n" for sentence in sentences), encoding="utf-8")
        return path


@contextmanager
def on_core(number: int) -> Iterator[None]:
    """What is started in here runs on one processor: the first or second of those that are there, or the only one."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {sorted(before)[number % len(before)]})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)
