"""A JSON list of normalised texts → the time to find where their words begin, and a hash of those places.

`compiled`: texts, 1,000 at a time, to an array, as a stage calls it. `package`: tinysegmenter3, text by text.
"""

import hashlib
import json
import sys
from collections.abc import Callable

from scripts.bench.measured.stopwatch import Stopwatch

BATCH = 1000


def compiled(texts: list[str], watch: Stopwatch) -> str:
    """The SHA-256 of a byte for each character: 1 where a word begins, else 0."""
    from stages.words.compiled_words import code_points, segment

    segment(code_points(["初"]))  # Reads the tables, once in a process: `tokenizer` measures that.
    digest = hashlib.sha256()
    for first in range(0, len(texts), BATCH):
        with watch:
            begins = segment(code_points(texts[first : first + BATCH]))
        digest.update(begins.tobytes())
    return digest.hexdigest()


def package(texts: list[str], watch: Stopwatch) -> str:
    """The same of the words that tinysegmenter3 gives."""
    from tinysegmenter import tokenize

    tokenize("初")
    digest = hashlib.sha256()
    for first in range(0, len(texts), BATCH):
        with watch:
            words = [tokenize(text) for text in texts[first : first + BATCH]]
        digest.update(b"".join(b"\1" + bytes(len(word) - 1) for text in words for word in text))
    return digest.hexdigest()


def main(side: str, path: str) -> None:
    with open(path, encoding="utf-8") as stream:
        texts: list[str] = json.load(stream)
    sides: dict[str, Callable[[list[str], Stopwatch], str]] = {"compiled": compiled, "package": package}
    watch = Stopwatch()
    digest = sides[side](texts, watch)
    amount = sum(map(len, texts))
    print(json.dumps({"amount": amount, "cpu": watch.cpu, "wall": watch.wall, "sha256": digest}))


if __name__ == "__main__":
    main(*sys.argv[1:])
