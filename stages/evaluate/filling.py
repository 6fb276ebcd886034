"""Sentences with a gap, and a model → the five most probable entries in each gap."""

import hashlib
import re
from pathlib import Path
from typing import Any

from stages.estimates import wilson
from stages.evaluate import kinds
from stages.evaluate.models import Model

CLOZE = Path(__file__).with_name("cloze.tsv")
# Characters of a held-out sentence that is easy to read. Longer ones are used last.
_READABLE = 60


def fill_cloze(model: Model) -> list[dict[str, Any]]:
    """The sentences of cloze.tsv, with gaps of one character, or of one word for a vocabulary of words."""
    tokenizer = model.tokenizer
    column = 0 if tokenizer.subword_tokenizer_type == "character" else -1
    rows = []
    for line in CLOZE.read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            kind, *texts = line.split("\t")
            before, answers, after = re.split("[〔〕]", texts[column])
            ids: list[int] = tokenizer(before + tokenizer.mask_token + after)["input_ids"]
            position = ids.index(tokenizer.mask_token_id)
            rows.append(_fill(model, ids, position, before, after, answers.split("/"), kind))
    return rows


def fill_sentences(model: Model, sentences: dict[str, list[int]], count: int) -> list[dict[str, Any]]:
    """`count` held-out sentences with a gap, at a token by SHA-256 that is not punctuation.

    sentences: text → ids with [CLS] and [SEP].
    """
    rows: list[dict[str, Any]] = []
    joined = model.tokenizer.convert_tokens_to_string
    for text, ids in sorted(sentences.items(), key=lambda sentence: len(sentence[0]) > _READABLE):
        tokens: Any = model.tokenizer.convert_ids_to_tokens(ids)
        positions = [n for n in range(1, len(ids) - 1) if kinds.kind(tokens[n]) != "punctuation"]
        if positions and len(rows) < count:
            number = int.from_bytes(hashlib.sha256(b"gap" + text.encode()).digest()[:8], "big")
            gap = positions[number % len(positions)]
            before, after = joined(tokens[1:gap]), joined(tokens[gap + 1 : -1])
            rows.append(_fill(model, ids, gap, before, after, [tokens[gap]], None))
    return rows


def _fill(
    model: Model, ids: list[int], position: int, before: str, after: str, answers: list[str], kind: str | None
) -> dict[str, Any]:
    """`{"kind", "before", "after", "answers", "words": [[entry, probability, right]]}`, five words.

    ids: with [CLS] and [SEP]. kind: of a cloze sentence, in which an entry is also right if it is `##` and an answer.
    """
    predictions = model.predict_masked([(ids, position)])
    entries: Any = model.tokenizer.convert_ids_to_tokens(predictions.best[0].tolist())
    right = {*answers, *("##" + answer for answer in answers if kind)}
    words = [
        [entry, probability, entry in right]
        for entry, probability in zip(entries, predictions.probabilities[0].tolist(), strict=True)
    ]
    return {"kind": kind, "before": before, "after": after, "answers": answers, "words": words}


def cloze_scores(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """How often a right answer is first, and among the five: `[{"kind", "sentences", "first", "among_five"}]`.

    rows: filled gaps. All kinds together, then each kind, as shares with Wilson's intervals.
    """
    right: dict[str, list[list[bool]]] = {"all": []}
    for row in rows:
        if row["kind"]:
            for kind in ("all", row["kind"]):
                right.setdefault(kind, []).append([word[2] for word in row["words"]])
    scores = []
    for kind, sentences in right.items():
        score: dict[str, Any] = {"kind": kind, "sentences": len(sentences)}
        for name, count in (("first", sum(words[0] for words in sentences)), ("among_five", sum(map(any, sentences)))):
            low, high = wilson(count, len(sentences))
            score[name] = {"count": count, "value": count / len(sentences), "low": low, "high": high}
        scores.append(score)
    return scores
