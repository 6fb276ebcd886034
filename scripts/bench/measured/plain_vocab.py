"""A JSON list of lines → the time to train WordPiece through a Python pre-tokenizer, as the published step does.

The `tokenizers` library calls Python for every line, which calls tinysegmenter3. `segmented` is the wall time
until the request of the last line, which grows with the lines; the rest of `wall` is training on the counts.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tinysegmenter import tokenize
from tokenizers import Tokenizer, normalizers
from tokenizers.models import WordPiece
from tokenizers.pre_tokenizers import PreTokenizer
from tokenizers.trainers import WordPieceTrainer

from scripts.bench.measured.stopwatch import Stopwatch

SPECIALS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *(f"<unused{number}>" for number in range(10))]


class Words:
    """The library's interface of a pre-tokenizer in Python."""

    def pre_tokenize(self, text: Any) -> None:
        text.split(self._split)

    def _split(self, _: int, text: Any) -> list[Any]:
        words, end = [], 0
        for word in tokenize(str(text)):
            start, end = end, end + len(word)
            words.append(text[start:end])
        return words


def main(path: str) -> None:
    lines: list[str] = json.loads(Path(path).read_text(encoding="utf-8"))
    segmentation = Stopwatch()

    def timed() -> Iterator[str]:
        with segmentation:
            yield from lines

    tokenizer = Tokenizer(WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Strip()])
    tokenizer.pre_tokenizer = PreTokenizer.custom(Words())
    trainer = WordPieceTrainer(
        vocab_size=32768, limit_alphabet=6129, special_tokens=SPECIALS, min_frequency=2, show_progress=False
    )
    watch = Stopwatch()
    with watch:
        tokenizer.train_from_iterator(timed(), trainer)
    watch.report(len(lines), segmented=segmentation.wall, segmented_cpu=segmentation.cpu)
