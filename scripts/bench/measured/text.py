"""A JSON list of sentences → the time to find their words or their ids, and a hash of these."""

import hashlib
import json
import sys
from pathlib import Path

from scripts.bench.measured.stopwatch import Stopwatch

BATCH = 1000


def words(side: str, path: str) -> None:
    """The beginnings of the words of normalised texts.

    `compiled`: 1,000 texts at a time to an array, as a stage calls it. `package`: tinysegmenter3, text by text. The
    hash is of a byte for each character: 1 where a word begins, else 0.
    """
    if side == "compiled":
        from stages.words.compiled_words import code_points, segment

        segment(code_points(["初"]))  # Reads the tables, once in a process; `tokenizer` measures that.
    else:
        from tinysegmenter import tokenize

        tokenize("初")
    texts: list[str] = json.loads(Path(path).read_text(encoding="utf-8"))
    watch, digest = Stopwatch(), hashlib.sha256()
    for first in range(0, len(texts), BATCH):
        batch = texts[first : first + BATCH]
        if side == "compiled":
            with watch:
                begins = segment(code_points(batch))
            digest.update(begins.tobytes())
        else:
            with watch:
                words = [tokenize(text) for text in batch]
            digest.update(b"".join(b"\1" + bytes(len(word) - 1) for text in words for word in text))
    watch.report(sum(map(len, texts)), sha256=digest.hexdigest())


def tokenizer(side: str, model: str, vocabulary: str, path: str) -> None:
    """The ids, by the tokenizer class of the stages (`compiled`) or of a model folder, without compiled words (`slow`).

    Measured in one process: construction and first call of the tokenizer (without imports), sentences one by one,
    1,000 at a time.
    """
    from stages.words import japanese_subwords, tokenization

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
        ids = [tokenizer(sentence)["input_ids"] for sentence in sentences[:BATCH]]
    one_by_one = len(ids)
    for begin in range(0, len(sentences), BATCH):
        with batches:
            ids += tokenizer(sentences[begin : begin + BATCH])["input_ids"]
    digest = hashlib.sha256(json.dumps(ids).encode()).hexdigest()
    parts = {"first": first.times(1), "single": single.times(one_by_one)}
    batches.report(len(sentences), sha256=digest, batch=batches.times(len(sentences)), **parts)
