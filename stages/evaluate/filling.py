"""Sentences with a gap, and a model → the five most probable entries in each gap."""

import hashlib
import re
from pathlib import Path
from typing import Any, NamedTuple

from stages.estimates import wilson
from stages.evaluate import kinds
from stages.evaluate.models import Model
from stages.words.tokenization import BertJapaneseTinySegmenterTokenizer as Tokenizer

CLOZE = Path(__file__).with_name("cloze.tsv")
# Characters of a held-out sentence that is easy to read. Longer ones are used last.
_READABLE = 60


class Gap(NamedTuple):
    """ids with [CLS] and [SEP], the gap's position in them, the text around it, and the right answers.

    kind: that of a cloze sentence; None for held-out text.
    """

    ids: list[int]
    position: int
    before: str
    after: str
    answers: list[str]
    kind: str | None


def cloze_gaps(tokenizer: Tokenizer) -> list[Gap]:
    """The sentences of cloze.tsv, with gaps of one character, or of one word for a vocabulary of words."""
    column = 0 if tokenizer.subword_tokenizer_type == "character" else -1
    gaps = []
    for line in CLOZE.read_text(encoding="utf-8").splitlines():
        if line.startswith("#"):
            continue
        kind, *texts = line.split("\t")
        before, answers, after = re.split("[〔〕]", texts[column])
        ids: list[int] = tokenizer(before + tokenizer.mask_token + after)["input_ids"]
        gaps.append(Gap(ids, ids.index(tokenizer.mask_token_id), before, after, answers.split("/"), kind))
    return gaps


def sentence_gaps(sentences: dict[str, list[int]], tokenizer: Tokenizer, count: int) -> list[Gap]:
    """A gap in each of `count` held-out sentences, at a token by SHA-256 that is not punctuation.

    sentences: text → ids with [CLS] and [SEP].
    """
    gaps: list[Gap] = []
    joined = tokenizer.convert_tokens_to_string
    for text, ids in sorted(sentences.items(), key=lambda sentence: len(sentence[0]) > _READABLE):
        tokens: Any = tokenizer.convert_ids_to_tokens(ids)
        positions = [n for n in range(1, len(ids) - 1) if kinds.kind(tokens[n]) != "punctuation"]
        if positions and len(gaps) < count:
            number = int.from_bytes(hashlib.sha256(b"gap" + text.encode()).digest()[:8], "big")
            gap = positions[number % len(positions)]
            gaps.append(Gap(ids, gap, joined(tokens[1:gap]), joined(tokens[gap + 1 : -1]), [tokens[gap]], None))
    return gaps


def fill(model: Model, gaps: list[Gap]) -> list[dict[str, Any]]:
    """`[{"kind", "before", "after", "answers", "words": [[entry, probability, right]]}]`, five words each.

    In a cloze sentence an entry is also right if it is `##` and an answer.
    """
    rows = []
    for gap in gaps:
        predictions = model.predict_masked([(gap.ids, gap.position)])
        entries: Any = model.tokenizer.convert_ids_to_tokens(predictions.best[0].tolist())
        right = {*gap.answers, *("##" + answer for answer in gap.answers if gap.kind)}
        words = [
            [entry, probability, entry in right]
            for entry, probability in zip(entries, predictions.probabilities[0].tolist(), strict=True)
        ]
        rows.append(
            {"kind": gap.kind, "before": gap.before, "after": gap.after, "answers": gap.answers, "words": words}
        )
    return rows


def cloze_scores(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """How often a right answer is first, and among the five: `[{"kind", "sentences", "first", "among_five"}]`.

    rows: of `fill`. All kinds together, then each kind, as shares with Wilson's intervals.
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
