"""Sentences and documents of a shard → its training instances as token ranges, one row each.

An instance is `[CLS] A [SEP] B [SEP]`, where A and B are ranges of the shard's tokens. Only the ranges are
made for all copies at once (40 bytes an instance); the tokens are filled in later, in shuffled order, so
that memory does not grow with the sequence length.

Follows create_instances_from_document of the released ALBERT code (section 3.1 of the paper for sentence
order prediction).
"""

import numpy as np
from numba import njit
from numpy.random import Generator
from numpy.typing import NDArray

# Columns of a plan.
A_BEGIN, A_END, B_BEGIN, B_END, SWAPPED = range(5)


def plan(
    generator: Generator,
    sentences: NDArray[np.int64],
    documents: NDArray[np.int64],
    copies: int,
    room: int,
    short: float,
) -> NDArray[np.int64]:
    """All instances of `copies` passes over a shard, shuffled across documents and copies: (instances, 5).

    `sentences` (sentences + 1,) and `documents` (documents + 1,) are offsets into tokens and sentences;
    `room` is how many tokens A and B may have together (sequence length - 3); with probability `short` a
    document is cut into shorter sequences.
    """
    buffer = np.empty((len(sentences) - 1, 5), np.int64)
    passes = []
    for _ in range(copies):
        made = _pass(generator, sentences, documents, room, short, buffer)
        passes.append(buffer[:made].copy())
    rows = np.concatenate(passes)
    return rows[generator.permutation(len(rows))]


@njit(cache=True)
def _pass(generator, sentences, documents, room, short, out):
    """One pass over all documents; returns how many rows of `out` it filled."""
    made = 0
    for document in range(len(documents) - 1):
        target = room
        if generator.random() < short:
            target = generator.integers(2, room + 1)
        last = documents[document + 1] - 1
        begin = documents[document]
        for end in range(begin, last + 1):
            if end < last and sentences[end + 1] - sentences[begin] < target:
                continue
            if begin == end:
                # A single sentence: its second part comes from another document, and counts as swapped.
                swapped = 1
                a_begin, a_end = sentences[begin], sentences[end + 1]
                b_begin, b_end = _elsewhere(generator, sentences, documents, document, target - (a_end - a_begin))
            else:
                cut = begin + generator.integers(1, end - begin + 1)
                a_begin, a_end = sentences[begin], sentences[cut]
                b_begin, b_end = a_end, sentences[end + 1]
                swapped = 1 if generator.random() < 0.5 else 0
                if swapped:
                    a_begin, a_end, b_begin, b_end = b_begin, b_end, a_begin, a_end
            # The longer part loses a token from its front or its end, until both fit.
            while (a_end - a_begin) + (b_end - b_begin) > room:
                front = generator.random() < 0.5
                if a_end - a_begin > b_end - b_begin:
                    if front:
                        a_begin += 1
                    else:
                        a_end -= 1
                elif front:
                    b_begin += 1
                else:
                    b_end -= 1
            out[made, A_BEGIN] = a_begin
            out[made, A_END] = a_end
            out[made, B_BEGIN] = b_begin
            out[made, B_END] = b_end
            out[made, SWAPPED] = swapped
            made += 1
            begin = end + 1
    return made


@njit(cache=True)
def _elsewhere(generator, sentences, documents, document, wanted):
    """At least `wanted` tokens (and at least a sentence), as far as it has them, of another document.

    Of this one, in a shard that has no other.
    """
    others = len(documents) - 2
    other = document
    if others > 0:
        other = generator.integers(0, others)
        if other >= document:
            other += 1
    begin = generator.integers(documents[other], documents[other + 1])
    end = begin + 1
    while end < documents[other + 1] and sentences[end] - sentences[begin] < wanted:
        end += 1
    return sentences[begin], sentences[end]
