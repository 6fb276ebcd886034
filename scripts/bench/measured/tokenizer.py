"""A vocabulary and a JSON list of sentences → the time of the tokenizer class for them, and a hash of the ids.

`compiled` is the class as it is here; `slow` as it is in a model folder, without compiled words. Measured in
one process: making the tokenizer and calling it first (imports not counted), sentences one by one, 1,000 at a time.
"""

import hashlib
import json
import sys
from typing import Any

from scripts.bench.measured.stopwatch import Stopwatch
from stages.words import japanese_subwords, tokenization

BATCH = 1000


def main(side: str, model: str, vocabulary: str, path: str) -> None:
    with open(path, encoding="utf-8") as stream:
        sentences: list[str] = json.load(stream)
    subwords = "character" if model == "character" else "wordpiece"
    first, single, batches = Stopwatch(), Stopwatch(), Stopwatch()

    if side == "slow":
        rules: Any = japanese_subwords
        rules.compiled_words = None
    with first:
        tokenizer = tokenization.BertJapaneseTinySegmenterTokenizer(vocabulary, subword_tokenizer_type=subwords)
        tokenizer(sentences[0])
    if (tokenizer.rules.compiled is None) != (side == "slow"):
        sys.exit(f"this is not the {side} tokenizer; make venv/convert compiles its words")
    with single:
        one_by_one = [tokenizer(sentence)["input_ids"] for sentence in sentences[:BATCH]]
    batched: list[list[int]] = []
    for begin in range(0, len(sentences), BATCH):
        with batches:
            batched += tokenizer(sentences[begin : begin + BATCH])["input_ids"]

    digest = hashlib.sha256(json.dumps([one_by_one, batched]).encode()).hexdigest()
    told = {
        name: {"amount": amount, "cpu": watch.cpu, "wall": watch.wall, "sha256": digest}
        for name, watch, amount in (
            ("first", first, 1),
            ("single", single, len(one_by_one)),
            ("batch", batches, len(batched)),
        )
    }
    print(json.dumps({**told["batch"], **told}))


if __name__ == "__main__":
    main(*sys.argv[1:])
