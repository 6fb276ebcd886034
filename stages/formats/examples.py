"""A block's tokens → a plan of training instances → masked examples, as integer arrays (compiled: examples.c).

An instance is `[CLS] A [SEP] B [SEP]`, where A and B are ranges of the block's tokens. A plan holds the ranges of many
copies (40 bytes an instance); the tokens are filled in batch by batch, in shuffled order.

Instances follow create_instances_from_document of the released ALBERT code (section 3.1 of the paper for sentence
order prediction). Masking is n-gram masking of whole words (the same section: an n-gram of n words has a probability
proportional to 1/n) and follows create_masked_lm_predictions, with two corrections: words and n-grams end at `[SEP]`,
where that code lets them reach over it, and words that an overlap left over are tried again, alone, until the budget
is met.
"""

import ctypes
import functools
import os
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.random import BitGenerator
from numpy.typing import NDArray

from stages.compiled import at, library, structure

SOURCE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "examples.c")
# Tokens made in one call, 256 examples of the published length: few enough for the cache, enough that the call costs
# nothing.
BATCH = 1 << 17
# The most tokens an example can have (examples.c).
LONGEST = 65_536
# What is counted, before the n-grams of 1, 2, … words: examples, those with A and B swapped, tokens, of those [UNK],
# masked tokens, examples with fewer of them than their budget; chunks that make no example.
COUNTS = ("examples", "swapped", "tokens", "unknown_tokens", "masked_tokens", "short_of_budget", "unpaired")
# Entries that stand in no text, as vocabularies spell them: [MASK], <unused0>, [unused1], </s>, <|endoftext|>.
RESERVED = re.compile(r"\[[A-Za-z]\w*\]|<[/|]?[A-Za-z]\w*\|?>", re.ASCII)
# Columns of a plan, and of Examples.shapes.
A_BEGIN, A_END, B_BEGIN, B_END, SWAPPED = range(5)
LENGTH, SEPARATOR, PREDICTED, IS_SWAPPED = range(4)

# The structures of examples.h.
CPasses = structure("CPasses", "sentences documents counts", "document_count copies room", short_share=ctypes.c_double)
CTokens = structure("CTokens", "ids starts")
CMasking = structure(
    "CMasking", "replacements budgets weights counts", "replacement_count longest",
    cls=ctypes.c_int32, sep=ctypes.c_int32, mask=ctypes.c_int32, unknown=ctypes.c_int32,
)  # fmt: skip
CExamples = structure("CExamples", "ids starts shapes positions labels", "count sequence predictions")


class Tokens(NamedTuple):
    """A block's tokens for one model, without empty sentences and documents."""

    ids: NDArray[np.int32]  # (tokens,)
    starts: NDArray[np.bool_]  # (tokens,) whether a word begins here
    sentences: NDArray[np.int64]  # (sentences + 1,) into ids
    documents: NDArray[np.int64]  # (documents + 1,) into sentences


class Examples(NamedTuple):
    """Examples of one sequence length, padded with zeros."""

    ids: NDArray[np.int32]  # (examples, sequence)
    starts: NDArray[np.bool_]  # (examples, sequence) whether a word begins here
    shapes: NDArray[np.int32]  # (examples, 4) length, position of the first [SEP], masked tokens, whether swapped
    positions: NDArray[np.int32]  # (examples, predictions) of the masked tokens, in order
    labels: NDArray[np.int32]  # (examples, predictions) what stood there

    def addresses(self) -> ctypes.Structure:
        """The structure of addresses for C. These arrays must outlive it."""
        return CExamples(
            at(self.ids, np.int32), at(self.starts, np.bool_), at(self.shapes, np.int32), at(self.positions, np.int32),
            at(self.labels, np.int32), *self.ids.shape, self.positions.shape[1],
        )  # fmt: skip


def plan(
    generator: BitGenerator,
    tokens: Tokens,
    copies: int,
    room: int,
    short: float,
    counts: NDArray[np.int64] | None = None,
) -> NDArray[np.int64]:
    """The instances of `copies` passes over a block, shuffled across documents and copies: (instances, 5).

    A document is cut into chunks of whole sentences, each as soon as it has `room` tokens (sequence length - 3), or,
    with probability `short`, a length drawn from 2 to `room` for all of the document. A chunk is cut in two between
    sentences, and half of the pairs are swapped. A chunk of a single sentence takes its second part from another
    document and counts as swapped. Where the block has no other document, the sentence itself is cut in two between
    tokens; a sentence of one token then makes no instance, and adds one to `counts` (Masking.counts). The longer part
    loses tokens from its front and its end, at random, until both fit.
    """
    ends = np.array([len(tokens.sentences) - 1, len(tokens.ids)])
    for offsets, end in zip((tokens.documents, tokens.sentences), ends, strict=True):
        if offsets[0] != 0 or offsets[-1] != end or end >= 2**32 or (np.diff(offsets) < 1).any():
            raise ValueError("offsets must rise from 0 to the end of what they point into")
    if room < 2 or copies * ends[0] >= 2**32:
        raise ValueError(f"no room for instances of {room} tokens in {copies} copies")
    rows = np.empty((copies * ends[0], 5), np.int64)
    if counts is None:
        counts = np.zeros(len(COUNTS), np.int64)
    passes = CPasses(
        at(tokens.sentences, np.int64), at(tokens.documents, np.int64), at(counts, np.int64),
        len(tokens.documents) - 1, copies, room, short,
    )  # fmt: skip
    return rows[: _library().plan(generator.ctypes.bit_generator, passes, at(rows, np.int64))]


def budget(length: int, most: int, probability: float) -> int:
    """How many tokens of an example of `length` tokens (specials included) are masked."""
    return min(most, max(1, round(length * probability)))


class Masking:
    """How the instances of one model become examples, each with exactly its budget of masked tokens.

    Words are visited in random order. Each starts an n-gram, whose length has a probability proportional to 1/n (for 3:
    6/11, 3/11 and 2/11) and does not exceed the words left in the part. An n-gram that would exceed the budget is
    shortened. One that overlaps another is skipped. Each masked token is replaced independently of the others: 80 % by
    `[MASK]`, 10 % by itself, 10 % by any entry of the vocabulary that is neither special nor unused.

    `counts` are of all examples made so far: COUNTS, then n-grams by length. `unmasked`: every budget is 0.
    """

    def __init__(
        self, entries: dict[str, int], sequence: int, predictions: int, probability: float, longest_ngram: int,
        unmasked: bool = False,
    ) -> None:  # fmt: skip
        self.sequence, self.predictions = sequence, predictions
        self.specials = [entries[f"[{name}]"] for name in ("CLS", "SEP", "MASK", "UNK")]
        self.replacements = np.array(ordinary(entries), np.int32)
        budgets = [0 if unmasked else budget(n, predictions, probability) for n in range(sequence + 1)]
        self.budgets = np.array(budgets, np.int32)
        self.weights = np.cumsum(1 / np.arange(1, longest_ngram + 1))  # cumulative, (longest_ngram,)
        self.counts = np.zeros(len(COUNTS) + longest_ngram, np.int64)
        if not len(self.replacements) or not 3 < sequence <= LONGEST or predictions < 1:
            raise ValueError("nothing to replace masked tokens with, or a length that no example can have")

    def examples(
        self, generator: BitGenerator, tokens: Tokens, instances: NDArray[np.int64], batch: int | None = None
    ) -> Iterator[Examples]:
        """The examples of these rows of a plan, in order, `batch` at a time: each batch in the memory of the last.

        A batch is as many as have BATCH tokens, unless said otherwise. Raises ValueError for a row that does not fit.
        """
        batch = batch or max(1, BATCH // self.sequence)
        positions, labels = np.empty((2, batch, self.predictions), np.int32)
        ids, starts = np.empty((batch, self.sequence), np.int32), np.empty((batch, self.sequence), np.bool_)
        room = Examples(ids, starts, np.empty((batch, 4), np.int32), positions, labels)
        # All but the rows stay where they are from batch to batch.
        source = CTokens(at(tokens.ids, np.int32), at(tokens.starts, np.bool_))
        bits, masking, examples = generator.ctypes.bit_generator, self._addresses(), room.addresses()
        for first in range(0, len(instances), batch):
            rows = instances[first : first + batch]
            lengths = rows[:, [A_END, B_END]] - rows[:, [A_BEGIN, B_BEGIN]]
            inside = rows[:, :SWAPPED].min() >= 0 and rows[:, :SWAPPED].max() <= len(tokens.ids) == len(tokens.starts)
            if not inside or lengths.min() < 1 or lengths.sum(1).max() > self.sequence - 3:
                raise ValueError("an instance has two parts, within the tokens and together within the sequence")
            examples.count = len(rows)
            _library().mask(bits, source, at(rows, np.int64), masking, examples)
            arrays: Any = (array[: len(rows)] for array in room)
            yield Examples(*arrays)

    def mask_whole(
        self, generator: BitGenerator, ids: NDArray[np.int32], starts: NDArray[np.uint8], shapes: NDArray[np.int32]
    ) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.int32]]:
        """Mask examples that are whole: in `ids` (examples, sequence), of which `shapes` gives lengths and separators.

        Gives positions and labels (examples, predictions), and how many tokens of each are masked (examples,).
        Raises ValueError for a length or a separator that no example has.
        """
        lengths, separators = shapes[:, LENGTH], shapes[:, SEPARATOR]
        shape = (len(shapes), self.sequence)
        if ids.shape != shape or starts.shape != shape or starts.dtype != np.uint8 or starts.max(initial=0) > 1:
            raise ValueError("arrays of different examples")
        # `[CLS] A [SEP] B [SEP]`, with a token at least in both parts.
        if not ((separators >= 2) & (separators < lengths - 2) & (lengths <= self.sequence)).all():
            raise ValueError("a length does not fit its sequence")
        positions, labels = np.empty((2, len(ids), self.predictions), np.int32)
        examples = Examples(ids, starts.view(np.bool_), shapes, positions, labels)
        _library().mask_whole(generator.ctypes.bit_generator, self._addresses(), examples.addresses())
        return positions, labels, shapes[:, PREDICTED]

    def _addresses(self) -> ctypes.Structure:
        return CMasking(
            at(self.replacements, np.int32), at(self.budgets, np.int32), at(self.weights, np.float64),
            at(self.counts, np.int64), len(self.replacements), len(self.weights), *self.specials,
        )  # fmt: skip


def ordinary(entries: dict[str, int]) -> list[int]:
    """The ids of a vocabulary's entries that are neither special nor unused, in order."""
    return sorted(number for entry, number in entries.items() if not RESERVED.fullmatch(entry))


@functools.cache
def _library() -> Any:
    """The library. Raises NotCompiled if it does not exist."""
    loaded = library(SOURCE)
    address = ctypes.c_void_p
    passes, tokens, masking, examples = map(ctypes.POINTER, (CPasses, CTokens, CMasking, CExamples))
    loaded.plan.restype, loaded.plan.argtypes = ctypes.c_int64, [address, passes, address]
    loaded.mask.restype, loaded.mask.argtypes = None, [address, tokens, address, masking, examples]
    loaded.mask_whole.restype, loaded.mask_whole.argtypes = None, [address, masking, examples]
    return loaded
