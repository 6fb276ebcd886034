"""Sentences with a gap and a model → the five entries it thinks most likely there."""

import hashlib
from typing import Any, NamedTuple

from stages.evaluate import kinds
from stages.evaluate.predictions import TOP, at_masks
from stages.evaluate.sentences import Sentence
from stages.tokenizer.tokenization import BertJapaneseTinySegmenterTokenizer

# A single character fits each gap, so that they are fair to both kinds of vocabulary.
SENTENCES = (
    "日本で一番高い[MASK]は富士山である。",
    "春になると、公園の[MASK]の花が咲く。",
    "一年は十二か[MASK]に分けられる。",
    "大学を卒業した[MASK]、東京の会社に入った。",
    "この寺は江戸時[MASK]に建てられた。",
    "京都[MASK]は日本の都市である。",
    "この川は南へ流れ、やがて[MASK]に注ぐ。",
    "駅[MASK]ら歩いて十分のところに図書館がある。",
    "彼は1990年に東京で生ま[MASK]た。",
    "電車は毎[MASK]六時に出発する。",
)
# Held-out sentences longer than this are no pleasure to read.
_READABLE = 60


class Gap(NamedTuple):
    """ids with [CLS] and [SEP], the gap's position there, the text around it, what stood there if that is known."""

    ids: list[int]
    position: int
    before: str
    after: str
    answer: str | None


def written(tokenizer: BertJapaneseTinySegmenterTokenizer) -> list[Gap]:
    """The ten sentences of this project."""
    gaps = []
    for text in SENTENCES:
        before, after = text.split("[MASK]")
        ids: list[int] = tokenizer(text)["input_ids"]
        gaps.append(Gap(ids, ids.index(tokenizer.mask_token_id), before, after, None))
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
        gaps.append(Gap(ids, at, text(tokens[1:at]), text(tokens[at + 1 : -1]), tokens[at]))
        if len(gaps) == count:
            break
    return gaps


def fill(model: Any, tokenizer: BertJapaneseTinySegmenterTokenizer, gaps: list[Gap]) -> list[dict[str, Any]]:
    """`[{"before", "after", "answer", "words": [[entry, probability]]}]`, five words each."""
    mask, pad = tokenizer.mask_token_id, tokenizer.pad_token_id
    filled = []
    for gap in gaps:
        made = at_masks(model, [(gap.ids, gap.position)], mask, pad)
        words: Any = tokenizer.convert_ids_to_tokens(made.best[0].tolist())
        best = [[word, probability] for word, probability in zip(words, made.probabilities[0].tolist(), strict=True)]
        filled.append({"before": gap.before, "after": gap.after, "answer": gap.answer, "words": best[:TOP]})
    return filled
