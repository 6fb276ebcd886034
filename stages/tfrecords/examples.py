"""Token arrays and a plan of instances → encoded examples, batch by batch."""

import dataclasses
from collections.abc import Iterator

import numpy as np
from numba import njit
from numpy.random import Generator
from numpy.typing import NDArray

from stages.tfrecords.encoding import encode, most_bytes
from stages.tfrecords.masking import budget, choose, find_words, ngram_weights, replace
from stages.tfrecords.tokens import Tokens
from stages.tokenizer.japanese_subwords import SPECIAL_TOKENS

# Examples encoded in one call: few enough for the cache, enough that the call costs nothing.
BATCH = 256
# What is counted: examples, swapped, tokens, of those [UNK], masked, examples short of their budget,
# then the n-grams of 1, 2, … words.
COUNTS = ("examples", "swapped", "tokens", "unknown_tokens", "masked_tokens", "short_of_budget")


@dataclasses.dataclass(frozen=True)
class Vocabulary:
    """What examples need to know of a vocabulary: the ids of the specials, and of all that is not special."""

    cls: int
    sep: int
    mask: int
    unk: int
    replacements: NDArray[np.int32]

    @classmethod
    def of(cls, entries: dict[str, int]) -> "Vocabulary":
        """From entry → id."""
        special = {*SPECIAL_TOKENS, *(e for e in entries if e.startswith("<unused") and e.endswith(">"))}
        replacements = np.array(sorted(number for entry, number in entries.items() if entry not in special), np.int32)
        return cls(entries["[CLS]"], entries["[SEP]"], entries["[MASK]"], entries["[UNK]"], replacements)


def encoded(
    generator: Generator,
    tokens: Tokens,
    instances: NDArray[np.int64],
    vocabulary: Vocabulary,
    sequence: int,
    predictions: int,
    probability: float,
    longest_ngram: int,
    counts: NDArray[np.int64],
) -> Iterator[bytes]:
    """The serialised examples of `instances` (see `instances.plan`), in order.

    `counts` (6 + longest_ngram,) is added to: COUNTS, then n-grams by length.
    """
    buffer = np.empty(BATCH * most_bytes(sequence, predictions), np.uint8)
    ends = np.empty(BATCH, np.int64)
    budgets = np.array([budget(length, predictions, probability) for length in range(sequence + 1)], np.int64)
    weights = ngram_weights(longest_ngram)
    specials = np.array([vocabulary.cls, vocabulary.sep, vocabulary.mask, vocabulary.unk], np.int32)
    for first in range(0, len(instances), BATCH):
        batch = instances[first : first + BATCH]
        _encode_batch(
            generator, tokens.ids, tokens.starts, batch, specials, vocabulary.replacements,
            sequence, predictions, budgets, weights, counts, buffer, ends,
        )  # fmt: skip
        whole = buffer[: ends[len(batch) - 1]].tobytes()
        begin = 0
        for end in ends[: len(batch)].tolist():
            yield whole[begin:end]
            begin = end


@njit(cache=True)
def _encode_batch(
    generator, tokens, word_starts, instances, specials, replacements,
    sequence, predictions, budgets, weights, counts, buffer, ends,
):  # fmt: skip
    cls, sep, mask_id, unk = specials
    ids = np.empty(sequence, np.int32)
    starts = np.empty(sequence, np.bool_)
    masked = np.empty(sequence, np.bool_)
    begins = np.empty(sequence, np.int64)
    order = np.empty(sequence, np.int64)
    positions = np.empty(predictions, np.int64)
    labels = np.empty(predictions, np.int64)
    at = 0
    for row in range(len(instances)):
        a_begin, a_end, b_begin, b_end, swapped = instances[row]
        separator = 1 + a_end - a_begin
        length = separator + 2 + b_end - b_begin
        ids[0] = cls
        ids[1:separator] = tokens[a_begin:a_end]
        ids[separator] = sep
        ids[separator + 1 : length - 1] = tokens[b_begin:b_end]
        ids[length - 1] = sep
        ids[length:] = 0
        starts[0] = starts[separator] = starts[length - 1] = True
        starts[1:separator] = word_starts[a_begin:a_end]
        starts[separator + 1 : length - 1] = word_starts[b_begin:b_end]
        positions[:] = 0
        labels[:] = 0

        in_first, words = find_words(starts, length, separator, begins)
        most = budgets[length]
        total = choose(
            generator, begins, in_first, words, length, separator, most, weights, order, masked, counts[6:]
        )  # fmt: skip
        counts[0] += 1
        counts[1] += swapped
        counts[2] += length
        counts[3] += (ids[:length] == unk).sum()
        counts[4] += total
        counts[5] += total < most
        predicted = replace(generator, ids, length, masked, mask_id, replacements, positions, labels)
        at = encode(buffer, at, ids, length, separator, starts, positions, labels, predicted, swapped)
        ends[row] = at
