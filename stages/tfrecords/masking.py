"""The tokens of one example → which positions are masked, and what stands there instead.

n-gram masking of whole words (ALBERT, section 3.1: an n-gram of n words has a probability proportional to
1/n), following create_masked_lm_predictions of the released code, with two corrections: words and n-grams
end at `[SEP]`, where that code lets them reach over it, and words that an overlap left over are tried
again, alone, until the budget is met.
"""

import numpy as np
from numba import njit
from numpy.typing import NDArray


def budget(length: int, most: int, probability: float) -> int:
    """How many tokens of an example of `length` tokens (specials included) are masked."""
    return min(most, max(1, round(length * probability)))


def ngram_weights(longest: int) -> NDArray[np.float64]:
    """Cumulative weights of n = 1…longest, each proportional to 1/n: shape (longest,), not normalised.

    For 3: 6/11, 3/11 and 2/11.
    """
    return np.cumsum(1 / np.arange(1, longest + 1))


@njit(cache=True)
def find_words(starts, length, separator, begins):
    """Where the words of an example begin: fills `begins`, returns (words of A, words of A and B).

    `starts` (length,) says where a word begins; `separator` is the position of the first `[SEP]`. A word
    that truncation has cut in front is a word of its own: it never joins the one before `[SEP]`.
    """
    words = 0
    for position in range(1, separator):
        if starts[position] or position == 1:
            begins[words] = position
            words += 1
    in_first = words
    for position in range(separator + 1, length - 1):
        if starts[position] or position == separator + 1:
            begins[words] = position
            words += 1
    return in_first, words


@njit(cache=True)
def choose(generator, begins, in_first, words, length, separator, most, weights, order, masked, ngrams):
    """Choose the words to mask: sets `masked` (length,), counts n-gram lengths in `ngrams`, returns tokens masked.

    Words are visited in random order. n is drawn by `weights`, as far as the part has words left; an
    n-gram that would exceed `most` is shortened, one that overlaps another is skipped.
    """
    masked[:length] = False
    total = 0
    for visit in range(words):
        order[visit] = visit
    for visit in range(words):
        if total >= most:
            return total
        other = generator.integers(visit, words)
        order[visit], order[other] = order[other], order[visit]
        word = order[visit]
        available = min(len(weights), (in_first if word < in_first else words) - word)
        draw = generator.random() * weights[available - 1]
        n = 1
        while n < available and draw >= weights[n - 1]:
            n += 1
        begin = begins[word]
        end = _end(begins, word + n - 1, in_first, words, length, separator)
        while n > 1 and total + end - begin > most:
            n -= 1
            end = _end(begins, word + n - 1, in_first, words, length, separator)
        if total + end - begin > most or masked[begin:end].any():
            continue
        masked[begin:end] = True
        total += end - begin
        ngrams[n - 1] += 1
    for visit in range(words):
        if total >= most:
            break
        begin = begins[order[visit]]
        end = _end(begins, order[visit], in_first, words, length, separator)
        if total + end - begin <= most and not masked[begin]:
            masked[begin:end] = True
            total += end - begin
            ngrams[0] += 1
    return total


@njit(cache=True)
def _end(begins, word, in_first, words, length, separator):
    """Where a word ends."""
    if word == in_first - 1:
        return separator
    if word == words - 1:
        return length - 1
    return begins[word + 1]


@njit(cache=True)
def replace(generator, ids, length, masked, mask_id, replacements, positions, labels):
    """Replace the masked tokens in `ids`; fills `positions` and `labels` (in order), returns how many.

    Each token on its own: 80 % `[MASK]`, 10 % kept, 10 % one of `replacements`, the vocabulary without its
    special and unused entries.
    """
    found = 0
    for position in range(length):
        if masked[position]:
            positions[found] = position
            labels[found] = ids[position]
            found += 1
            if generator.random() < 0.8:
                ids[position] = mask_id
            elif generator.random() >= 0.5:
                ids[position] = replacements[generator.integers(0, len(replacements))]
    return found
