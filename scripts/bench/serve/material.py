"""The material of `make bench` → the text, the models and the sentences for the tokenizer's image."""

import dataclasses
import os
import random
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from itertools import accumulate
from pathlib import Path

from scripts.bench import material
from scripts.bench.running import run

NAMES = {"character": "character/tiny", "wordpiece": "wordpiece_tinysegmenter/tiny"}
# Of `make bench`, whose yardsticks for words need 200,000 characters and more.
SLICE_CHARACTERS = 2_000_000


@dataclasses.dataclass(frozen=True)
class Size(material.Size):
    """The sizes of the text, and the amounts to measure. `seconds` are those of a round of requests."""

    starts: int
    seconds: float
    batches: int
    soak_minutes: float


FULL = Size(**{**vars(material.FULL), "rounds": 5}, starts=15, seconds=4, batches=10, soak_minutes=10)
QUICK = Size(**vars(material.QUICK), starts=1, seconds=0.5, batches=1, soak_minutes=0.1)


class Material(material.Material):
    """The files of one run, in the folder `work`, which the caller removes."""

    size: Size

    @cached_property
    def models(self) -> Path:
        """A folder of both tiny models, with random weights and model.onnx."""
        out = self.work / "models"
        run("convert", "scripts.bench.measured", "served_models", self.vocab, out, one_core=False)
        return out

    @cached_property
    def lines(self) -> Path:
        """Every sentence of the corpus, a line each."""
        return self._lines("lines.txt", self.sentences)

    @cached_property
    def fewer_lines(self) -> Path:
        """The first sentences, of SLICE_CHARACTERS: their ids as JSON take a hundred bytes a character."""
        number = sum(end <= SLICE_CHARACTERS for end in accumulate(map(len, self.sentences)))
        return self._lines("fewer.txt", self.sentences[:number])

    @cached_property
    def usual_sentences(self) -> list[str]:
        """64 sentences of 30 to 50 characters from all over the corpus."""
        return random.Random(6).sample([sentence for sentence in self.sentences if 30 <= len(sentence) <= 50], 64)

    @cached_property
    def masked_sentences(self) -> list[str]:
        """32 of them, a character of each replaced by [MASK]."""
        draw = random.Random(6)
        places = [(sentence, draw.randrange(len(sentence))) for sentence in self.usual_sentences[:32]]
        return [f"{sentence[:place]}[MASK]{sentence[place + 1 :]}" for sentence, place in places]

    def _lines(self, name: str, sentences: list[str]) -> Path:
        path = self.work / name
        path.write_text("".join(sentence + "\n" for sentence in sentences), encoding="utf-8")
        return path


@contextmanager
def on_core(number: int) -> Iterator[None]:
    """Processes of the body run on one core: the first or second usable one, or the only one."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {sorted(before)[number % len(before)]})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)
