"""The articles of a shard → blocks of whole articles → words → tokens of each model → TFRecords.

Memory depends neither on the size of a shard nor on the number of copies.
"""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np
from numpy.random import BitGenerator
from numpy.typing import NDArray

from stages.formats.encoding import encoded
from stages.formats.examples import Masking, Tokens, plan
from stages.words.compiled_words import CompiledVocabulary, Texts, code_points, segment
from stages.words.japanese_subwords import normalise

# Characters in a block. Copies and articles are shuffled within it: some 90,000 examples of each model, at the
# published length and number of copies. A block, the block before it and a model's tokens take 20 MB.
BLOCK = 1_000_000
# Instances of the longest plan: 60 MB. A block has some 25,000 sentences, and at most as many instances in a copy. So
# the published 40 copies are planned and shuffled together; they have far fewer instances, and take 5 MB.
ROWS = 1_500_000


class Words(NamedTuple):
    """The sentences of a block, segmented."""

    texts: Texts
    begins: NDArray[np.uint8]  # (characters,) whether a piece begins here
    documents: NDArray[np.int64]  # (documents + 1,) into the texts


def blocks(articles: Iterable[list[str]], size: int = BLOCK) -> Iterator[list[list[str]]]:
    """Cut a shard's articles into blocks, in order. `articles` is exhausted before the last block is yielded.

    A block ends with the article that brings it to `size` characters. It has two articles at least, unless the shard
    has one only: a single sentence takes its second part from another article. A rest of one article, or of less than
    half a block, joins the block before it.
    """
    previous: list[list[str]] = []
    block: list[list[str]] = []
    characters = 0
    for article in articles:
        block.append(article)
        characters += sum(map(len, article))
        if characters >= size and len(block) > 1:
            if previous:
                yield previous
            previous, block, characters = block, [], 0
    if previous and (len(block) == 1 or 2 * characters < size):
        previous, block = previous + block, []
    yield from filter(None, (previous, block))


def split(articles: list[list[str]]) -> Words:
    """Segment every sentence of a block, once for all models."""
    texts = code_points([normalise(sentence) for article in articles for sentence in article])
    return Words(texts, segment(texts), _offsets(np.array([len(article) for article in articles], np.int64)))


def look_up(words: Words, vocabulary: CompiledVocabulary) -> Tokens:
    """The tokens of a block's words. Sentences and documents without tokens are left out."""
    tokens = vocabulary.look_up(words.texts, words.begins)
    lengths = np.diff(tokens.ends, prepend=0)
    sentences = np.diff(_offsets(lengths > 0)[words.documents])
    return Tokens(tokens.ids, tokens.first, _offsets(lengths[lengths > 0]), _offsets(sentences[sentences > 0]))


def _offsets(lengths: NDArray[np.generic]) -> NDArray[np.int64]:
    """The begin of each item, and the end of the last one: shape (items + 1,)."""
    return np.concatenate((np.zeros(1, np.int64), np.cumsum(lengths, dtype=np.int64)))


def records(
    generator: BitGenerator, tokens: Tokens, masking: Masking, copies: int, short: float, rows: int = ROWS
) -> Iterator[NDArray[np.uint8]]:
    """The TFRecords of `copies` passes over a block, in batches. Each batch overwrites the memory of the batch before.

    A plan has as many copies as certainly fit into `rows` instances, and at least one. Copies of a plan are shuffled
    together.
    """
    copies_a_plan = max(1, rows // max(1, len(tokens.sentences) - 1))
    for first in range(0, copies, copies_a_plan):
        count = min(copies_a_plan, copies - first)
        # No variable refers to the plan, so that its memory is free before the next plan.
        room, counts = masking.sequence - 3, masking.counts
        yield from encoded(masking.examples(generator, tokens, plan(generator, tokens, count, room, short, counts)))
