"""A vocabulary and a JSON list of sentences → the time of the tokenizer class for them, and a hash of the ids.

`compiled` is the class of the stages; `slow` that of a model folder, without compiled words. Measured in one process:
construction and first call of the tokenizer (without imports), sentences one by one, 1,000 at a time.
"""

import hashlib
import json
import sys
from pathlib import Path

from scripts.bench.measured.stopwatch import Stopwatch
from stages.words import japanese_subwords, tokenization

BATCH = 1000


def main(side: str, model: str, vocabulary: str, path: str) -> None:
    sentences: list[str] = json.loads(Path(path).read_text(encoding="utf-8"))
    subwords = "character" if model == "character" else "wordpiece"
    first, single, batches = Stopwatch(), Stopwatch(), Stopwatch()

    if side == "slow":
        vars(japanese_subwords)["compiled_words"] = None
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
    parts = {"first": (first, 1), "single": (single, len(one_by_one)), "batch": (batches, len(batched))}
    reports = {
        name: {"amount": amount, "cpu": watch.cpu, "wall": watch.wall, "sha256": digest}
        for name, (watch, amount) in parts.items()
    }
    batches.report(len(batched), sha256=digest, **reports)
