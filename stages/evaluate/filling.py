"""Sentences with a gap and a model → the five entries it thinks most likely there."""

import hashlib
import re
from pathlib import Path
from typing import Any, NamedTuple

from stages.estimates import wilson
from stages.evaluate import kinds
from stages.evaluate.predictions import at_masks
from stages.evaluate.sentences import Sentence
from stages.words.tokenization import BertJapaneseTinySegmenterTokenizer

CLOZE = Path(__file__).with_name("cloze.tsv")
# Held-out sentences longer than this are no pleasure to read.
_READABLE = 60


class Gap(NamedTuple):
    """ids with [CLS] and [SEP], the gap's position there, the text around it, and the answers that are right.

    kind: that of a cloze sentence; None for held-out text.
    """

    ids: list[int]
    position: int
    before: str
    after: str
    answers: list[str]
    kind: str | None


def cloze(tokenizer: BertJapaneseTinySegmenterTokenizer) -> list[Gap]:
    """The sentences of cloze.tsv: with a gap of one character, or for a vocabulary of words with one of a word."""
    words = tokenizer.subword_tokenizer_type != "character"
    gaps = []
    for line in CLOZE.read_text(encoding="utf-8").splitlines():
        if line.startswith("#"):
            continue
        kind, *texts = line.split("\t")
        before, answers, after = re.split("[〔〕]", texts[-1 if words else 0])
        ids: list[int] = tokenizer(before + tokenizer.mask_token + after)["input_ids"]
        gaps.append(Gap(ids, ids.index(tokenizer.mask_token_id), before, after, answers.split("/"), kind))
    return gaps


def held_out(sentences: list[Sentence], tokenizer: BertJapaneseTinySegmenterTokenizer, count: int) -> list[Gap]:
    """A gap in each of `count` held-out sentences, the shorter ones first: any token but punctuation."""
    gaps: list[Gap] = []
    for sentence in sorted(sentences, key=lambda sentence: len(sentence.text) > _READABLE):
        ids = sentence.ids[0]
        tokens: Any = tokenizer.convert_ids_to_tokens(ids)
        places = [
            n for n, token in enumerate(tokens) if n in range(1, len(ids) - 1) and kinds.kind(token) != "punctuation"
        ]
        if not places:
            continue
        draw = int.from_bytes(hashlib.sha256(b"gap" + sentence.text.encode()).digest()[:8], "big")
        at, text = places[draw % len(places)], tokenizer.convert_tokens_to_string
        gaps.append(Gap(ids, at, text(tokens[1:at]), text(tokens[at + 1 : -1]), [tokens[at]], None))
        if len(gaps) == count:
            break
    return gaps


def fill(model: Any, tokenizer: BertJapaneseTinySegmenterTokenizer, gaps: list[Gap]) -> list[dict[str, Any]]:
    """`[{"kind", "before", "after", "answers", "words": [[entry, probability, right]]}]`, five words each.

    In a cloze sentence an entry is also right if it is an answer behind `##`.
    """
    mask, pad = tokenizer.mask_token_id, tokenizer.pad_token_id
    filled = []
    for gap in gaps:
        made = at_masks(model, [(gap.ids, gap.position)], mask, pad)
        words: Any = tokenizer.convert_ids_to_tokens(made.best[0].tolist())
        right = {*gap.answers, *("##" + answer for answer in gap.answers if gap.kind)}
        best = [
            [word, probability, word in right]
            for word, probability in zip(words, made.probabilities[0].tolist(), strict=True)
        ]
        filled.append(
            {"kind": gap.kind, "before": gap.before, "after": gap.after, "answers": gap.answers, "words": best}
        )
    return filled


def cloze_scores(filled: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """How often a right answer is the first, and among the five: `[{"kind", "sentences", "first", "among_five"}]`.

    In all and by kind, as shares with Wilson's intervals.
    """
    kinds_of = [one["kind"] for one in filled if one["kind"]]
    rows = []
    for kind in ("all", *dict.fromkeys(kinds_of)):
        right = [[word[2] for word in one["words"]] for one in filled if one["kind"] and kind in ("all", one["kind"])]
        row: dict[str, Any] = {"kind": kind, "sentences": len(right)}
        for name, count in (("first", sum(each[0] for each in right)), ("among_five", sum(map(any, right)))):
            low, high = wilson(count, len(right))
            row[name] = {"count": count, "value": count / len(right), "low": low, "high": high}
        rows.append(row)
    return rows
