"""A held-out corpus, or held-out examples → a sample of sentences that every model in question can read whole."""

import hashlib
import heapq
import re
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np

from stages.evaluate.unmasking import restored
from stages.formats.batches import Batch
from stages.formats.corpus import documents
from stages.words.tokenization import BertJapaneseTinySegmenterTokenizer

# What the corpus keeps, in characters; pieces of examples are held to it as well.
SHORTEST, LONGEST = 10, 250
# Sentences drawn for each that is asked for: some are left out.
_SPARE = 4


class Sentence(NamedTuple):
    """A text and its ids in each tokenizer, with [CLS] and [SEP]."""

    text: str
    ids: list[list[int]]


def from_corpus(corpus: str, files: list[tuple[str, dict[str, Any]]]) -> Iterator[str]:
    """The sentences of corpus files."""
    for name, described in files:
        for article in documents(corpus, name, described):
            yield from article


def from_records(batches: Iterable[Batch], tokenizer: BertJapaneseTinySegmenterTokenizer) -> Iterator[str]:
    """The text of examples with their labels put back, cut behind each `。`; parts may begin within a sentence."""
    for batch in batches:
        for ids, mask, segments in zip(restored(batch), batch.mask, batch.segments, strict=True):
            for segment in (0, 1):
                part = ids[(mask > 0) & (segments == segment)].tolist()
                tokens: Any = tokenizer.convert_ids_to_tokens(part)
                text = tokenizer.convert_tokens_to_string([t for t in tokens if t not in ("[CLS]", "[SEP]")])
                yield from (piece for piece in re.findall("[^。]*。|[^。]+$", text))


def sample(sentences: Iterable[str], count: int) -> list[str]:
    """A random sample without repetitions, in random order: the sentences with the smallest SHA-256.

    It depends neither on the order nor on how often a sentence comes, and `count` sentences are kept in memory.
    """
    kept: list[tuple[int, str]] = []
    present: set[str] = set()
    for text in sentences:
        if text in present or not SHORTEST <= len(text) <= LONGEST:
            continue
        key = -int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")
        if len(kept) < count:
            heapq.heappush(kept, (key, text))
        elif key > kept[0][0]:
            present.remove(heapq.heapreplace(kept, (key, text))[1])
        else:
            continue
        present.add(text)
    return [text for _, text in sorted(kept, reverse=True)]


def choose(
    sentences: Iterable[str], count: int, tokenizers: list[BertJapaneseTinySegmenterTokenizer], longest: int
) -> tuple[list[Sentence], dict[str, int]]:
    """`count` sentences, and how many of those drawn before them were left out, by reason.

    Left out: those with an [UNK], whose characters a model would be spared, and those of more than `longest` tokens.
    """
    chosen: list[Sentence] = []
    left_out = {"unknown_token": 0, "too_long": 0}
    for text in sample(sentences, _SPARE * count):
        if len(chosen) == count:
            break
        ids: list[list[int]] = [tokenizer(text)["input_ids"] for tokenizer in tokenizers]
        if any(t.unk_token_id in row for t, row in zip(tokenizers, ids, strict=True)):
            left_out["unknown_token"] += 1
        elif max(map(len, ids)) > longest:
            left_out["too_long"] += 1
        else:
            chosen.append(Sentence(text, ids))
    return chosen, left_out


def tokens_of(sentences: list[Sentence], system: int) -> "np.ndarray[Any, np.dtype[np.int64]]":
    """The tokens of each sentence in one of the tokenizers, without [CLS] and [SEP]: (sentences,)."""
    return np.array([len(sentence.ids[system]) - 2 for sentence in sentences])
