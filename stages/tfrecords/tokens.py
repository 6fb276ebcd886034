"""A block of articles → its words, once for all models → token ids for each model, as integer arrays."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from stages.formats.examples import Tokens
from stages.words.compiled_words import CompiledVocabulary, Texts, code_points, segment
from stages.words.japanese_subwords import normalise


class Words(NamedTuple):
    """The sentences of a block, segmented."""

    texts: Texts
    begins: NDArray[np.uint8]  # (characters,) whether a piece begins here
    documents: NDArray[np.int64]  # (documents + 1,) into the texts


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
