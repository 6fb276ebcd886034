"""A held-out corpus, or held-out examples → a sample of sentences that fit all models."""

import hashlib
import heapq
import re
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from stages.evaluate.unmasking import unmask
from stages.formats.batches import Batch
from stages.formats.corpus import documents
from stages.words.tokenization import BertJapaneseTinySegmenterTokenizer

# The corpus keeps sentences of these lengths in characters; the same limits apply to text of examples.
SHORTEST, LONGEST = 10, 250
# Sentences in the sample for each requested one: some are left out.
_SPARE = 4


class Sentence(NamedTuple):
    """A text and its ids in each tokenizer, with [CLS] and [SEP]."""

    text: str
    ids: list[list[int]]


def from_corpus(corpus: str, files: list[tuple[str, dict[str, Any]]]) -> Iterator[str]:
    """The sentences of corpus files."""
    for name, description in files:
        for article in documents(corpus, name, description):
            yield from article


def from_records(batches: Iterable[Batch], tokenizer: BertJapaneseTinySegmenterTokenizer) -> Iterator[str]:
    """The unmasked text of examples, cut behind each `。`; a part may start within a sentence."""
    for batch in batches:
        for ids, mask, segments in zip(unmask(batch), batch.mask, batch.segments, strict=True):
            for segment in (0, 1):
                part = ids[(mask > 0) & (segments == segment)].tolist()
                tokens: Any = tokenizer.convert_ids_to_tokens(part)
                text = tokenizer.convert_tokens_to_string([t for t in tokens if t not in ("[CLS]", "[SEP]")])
                yield from re.findall("[^。]*。|[^。]+$", text)


def sample(sentences: Iterable[str], count: int) -> list[str]:
    """A random sample without repetitions, in random order: the `count` sentences with the smallest SHA-256.

    It depends neither on the order nor on repetitions of the sentences. Only `count` sentences are in memory.
    """
    heap: list[tuple[int, str]] = []
    present: set[str] = set()
    for text in sentences:
        if text in present or not SHORTEST <= len(text) <= LONGEST:
            continue
        key = -int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")
        if len(heap) < count:
            heapq.heappush(heap, (key, text))
        elif key > heap[0][0]:
            present.remove(heapq.heapreplace(heap, (key, text))[1])
        else:
            continue
        present.add(text)
    return [text for _, text in sorted(heap, reverse=True)]


def choose(
    sentences: Iterable[str], count: int, tokenizers: list[BertJapaneseTinySegmenterTokenizer], longest: int
) -> tuple[list[Sentence], dict[str, int]]:
    """`count` sentences of the sample, and the numbers of sentences left out, by reason.

    Sentences with an [UNK] are left out, since it hides characters from a model, and those of more than `longest`
    tokens.
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
