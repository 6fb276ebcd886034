"""A JSON list of normalised texts → the time to find the beginnings of their words, and a hash of these.

`compiled`: 1,000 texts at a time to an array, as a stage calls it. `package`: tinysegmenter3, text by text.
"""

import hashlib
import json
from pathlib import Path

from scripts.bench.measured.stopwatch import Stopwatch

BATCH = 1000


def compiled(texts: list[str], watch: Stopwatch) -> str:
    """The SHA-256 of a byte for each character: 1 where a word begins, else 0."""
    from stages.words.compiled_words import code_points, segment

    segment(code_points(["初"]))  # Reads the tables, once in a process; `tokenizer` measures that.
    digest = hashlib.sha256()
    for first in range(0, len(texts), BATCH):
        with watch:
            begins = segment(code_points(texts[first : first + BATCH]))
        digest.update(begins.tobytes())
    return digest.hexdigest()


def package(texts: list[str], watch: Stopwatch) -> str:
    """The same SHA-256 of the words by tinysegmenter3."""
    from tinysegmenter import tokenize

    tokenize("初")
    digest = hashlib.sha256()
    for first in range(0, len(texts), BATCH):
        with watch:
            words = [tokenize(text) for text in texts[first : first + BATCH]]
        digest.update(b"".join(b"\1" + bytes(len(word) - 1) for text in words for word in text))
    return digest.hexdigest()


def main(side: str, path: str) -> None:
    texts: list[str] = json.loads(Path(path).read_text(encoding="utf-8"))
    watch = Stopwatch()
    digest = (compiled if side == "compiled" else package)(texts, watch)
    watch.report(sum(map(len, texts)), sha256=digest)
