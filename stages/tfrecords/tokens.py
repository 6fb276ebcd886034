"""The articles of a shard → words once, as numbers → token ids for each model, as integer arrays."""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from stages.tokenizer.japanese_subwords import normalise, word_spans, wordpieces


class Words(NamedTuple):
    """A shard's words. `flat` numbers them into `different`; the other two say where things begin."""

    different: list[str]
    flat: NDArray[np.int32]  # (words,) one sentence after the other
    sentences: NDArray[np.int64]  # (sentences + 1,) into flat
    documents: NDArray[np.int64]  # (documents + 1,) into sentences


class Tokens(NamedTuple):
    """A shard's tokens for one model, without empty sentences and documents."""

    ids: NDArray[np.int32]  # (tokens,)
    starts: NDArray[np.bool_]  # (tokens,) whether a word begins here
    sentences: NDArray[np.int64]  # (sentences + 1,) into ids
    documents: NDArray[np.int64]  # (documents + 1,) into sentences


def split(articles: Iterable[list[str]], spaces: frozenset[str]) -> Words:
    """Split every sentence into words; `spaces` are the white-space characters that count as words."""
    numbers: dict[str, int] = {}
    flat: list[NDArray[np.int32]] = []
    sentences, documents = [0], [0]
    for article in articles:
        for sentence in article:
            text = normalise(sentence)
            words = [numbers.setdefault(text[a:b], len(numbers)) for a, b in word_spans(text, spaces)]
            flat.append(np.array(words, np.int32))
            sentences.append(sentences[-1] + len(words))
        documents.append(len(sentences) - 1)
    joined = np.concatenate(flat) if flat else np.empty(0, np.int32)
    return Words(list(numbers), joined, np.array(sentences, np.int64), np.array(documents, np.int64))


def wordpiece_ids(word: str, vocabulary: dict[str, int]) -> list[int]:
    """WordPiece ids of a word; `[UNK]` where it has none; nothing for white space, as at inference."""
    if word.isspace():
        return []
    pieces = wordpieces(word, vocabulary)
    return [vocabulary["[UNK]"]] if pieces is None else [vocabulary[piece] for piece in pieces]


def character_ids(word: str, vocabulary: dict[str, int]) -> list[int]:
    """One id a character, of the bare character: the character vocabulary has no `##` entries."""
    unknown = vocabulary["[UNK]"]
    return [vocabulary.get(character, unknown) for character in word]


SUBWORDS = {"wordpiece_tinysegmenter": wordpiece_ids, "character": character_ids}


def look_up(words: Words, model: str, vocabulary: dict[str, int]) -> Tokens:
    """The token ids of all words. Each different word is looked up once; the rest is array work."""
    pieces = [SUBWORDS[model](word, vocabulary) for word in words.different]
    counts = np.array([len(ids) for ids in pieces], np.int64)
    table = np.array([number for ids in pieces for number in ids], np.int32)
    first = np.concatenate(([0], np.cumsum(counts)))[:-1]

    lengths = counts[words.flat]
    begins = np.concatenate(([0], np.cumsum(lengths)))
    within = np.arange(begins[-1]) - np.repeat(begins[:-1], lengths)
    ids = table[np.repeat(first[words.flat], lengths) + within]

    in_sentence = begins[words.sentences]
    kept = np.diff(in_sentence) > 0
    kept_before = np.concatenate(([0], np.cumsum(kept)))
    in_document = kept_before[words.documents]
    return Tokens(
        ids,
        within == 0,
        np.concatenate(([0], in_sentence[1:][kept])).astype(np.int64),
        np.concatenate(([0], in_document[1:][np.diff(in_document) > 0])).astype(np.int64),
    )
