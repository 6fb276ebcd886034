"""Gzip TFRecords → batches of integer arrays: shuffled, without end, from any position; held-out ones in order.

The stream depends only on the files, the seed and the batch: not on the number of threads that read, nor of processes
that share the batches. Each epoch has its own order of files. FILES of them are read together, a chunk of each in turn;
a pool of POOL examples shuffles what comes (27 MB at length 512; 52 MB with all that is read ahead). A position is an
epoch, a group of files, and how many of its examples were taken. To resume there, only this group is read again.
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np
from numpy.random import SFC64, Generator, SeedSequence
from numpy.typing import NDArray

from stages.command.refusal import Refusal
from stages.formats.decoding import ROWS, Chunk, chunks, empty, joined
from stages.formats.examples import IS_SWAPPED, LENGTH, SEPARATOR, Masking

FILES = 8
POOL = 8192
# Batches that wait for the trainer.
AHEAD = 4
# The uses of random numbers: the order of the files, the order of the examples, which tokens are masked.
_ORDER, _SHUFFLE, _MASKS, _HELD_OUT = range(4)
Position = dict[str, int]
START: Position = {"epoch": 0, "group": 0, "taken": 0}


class Batch(NamedTuple):
    """Masked examples; each array has memory of its own."""

    ids: NDArray[np.int32]  # (examples, sequence)
    mask: NDArray[np.uint8]  # (examples, sequence) 1 for tokens, 0 for padding
    segments: NDArray[np.uint8]  # (examples, sequence)
    positions: NDArray[np.int32]  # (examples, predictions) of the masked tokens; unused slots are 0
    labels: NDArray[np.int32]  # (examples, predictions)
    weights: NDArray[np.float32]  # (examples, predictions) 0 for unused slots
    swapped: NDArray[np.int32]  # (examples,)

    @classmethod
    def of(cls, chunk: Chunk) -> Batch:
        """The examples of a chunk, without their word starts."""
        return cls(*(getattr(chunk, name) for name in cls._fields))

    def rows(self, which: slice) -> Batch:
        """Some of the examples, in this batch's memory."""
        arrays: Any = (array[which] for array in self)
        return Batch(*arrays)


def unmasked_ids(examples: Batch | Chunk) -> NDArray[np.int32]:
    """The ids before masking (examples, sequence): the label of a slot with a weight was at its position."""
    ids = examples.ids.copy()
    rows, slots = np.nonzero(examples.weights)
    ids[rows, examples.positions[rows, slots]] = examples.labels[rows, slots]
    return ids


def unmasked(chunk: Chunk, *position: int) -> Chunk:
    """The same examples with their ids before masking. For TrainingData, in place of a DynamicMasking."""
    return chunk._replace(ids=unmasked_ids(chunk))


def _bits(seed: int, use: int, *place: int) -> SFC64:
    """Random numbers for one use at one place. (A seed [1, 0] would be the same as [1].)"""
    return SFC64(SeedSequence(seed, spawn_key=(use, *place)))


class DynamicMasking:
    """Masks examples anew, as tfrecords does it: by words, with the budget of its options, in tfrecords' own code.

    `entries`: the vocabulary, entry to id; the rest as in the manifest of tfrecords.
    """

    def __init__(
        self, entries: dict[str, int], sequence: int, predictions: int, probability: float, ngram: int, seed: int
    ) -> None:
        self._masking = Masking(entries, sequence, predictions, probability, ngram)
        self._seed = seed

    def __call__(self, chunk: Chunk, *position: int) -> Chunk:
        """The same examples, with word starts, with other tokens masked: they depend on the seed and the position."""
        ids = unmasked_ids(chunk)
        shapes = np.zeros((len(ids), 4), np.int32)
        shapes[:, LENGTH] = chunk.mask.sum(1)
        # The first [SEP] is the last token of the first segment.
        shapes[:, SEPARATOR] = chunk.segments.argmax(1) - 1
        shapes[:, IS_SWAPPED] = chunk.swapped
        positions, labels, predicted = self._masking.mask_whole(_bits(self._seed, *position), ids, chunk.starts, shapes)
        weights = (np.arange(positions.shape[1]) < predicted[:, None]).astype(np.float32)
        return chunk._replace(ids=ids, positions=positions, labels=labels, weights=weights)


class TrainingData:
    """The batches of a run for one of its processes: `part` is (rank, processes), and takes its slice of each batch.

    Every process reads all examples, so that they need not communicate. `readers` are threads: isal and the compiled
    decoder let others run. `masking`: whole batch, position → batch; with it, word starts are read. An id that is not
    below `entries` is refused.
    """

    def __init__(
        self, files: list[str], sequence: int, predictions: int, batch: int, seed: int, readers: int = 2,
        part: tuple[int, int] = (0, 1), masking: Callable[..., Chunk] | None = None, entries: int = 2**31,
    ) -> None:  # fmt: skip
        rank, processes = part
        if batch % processes:
            raise ValueError(f"{processes} processes cannot share a batch of {batch}")
        self._files, self._sequence, self._predictions = sorted(files), sequence, predictions
        self._batch, self._seed, self._masking, self._entries = batch, seed, masking, entries
        self._slice = slice(batch // processes * rank, batch // processes * (rank + 1))
        self._readers = ThreadPoolExecutor(readers, thread_name_prefix="reader")
        self._ahead = ThreadPoolExecutor(1, thread_name_prefix="batches")

    def batches(self, position: Position | None = None) -> Iterator[tuple[Chunk, Position]]:
        """Batches without end, each with the position behind it. Refusal for a file that is damaged.

        A thread of its own reads ahead.
        """
        stream = self._batches(position)
        ahead = deque(self._ahead.submit(next, stream) for _ in range(AHEAD))
        while True:
            batch = ahead.popleft().result()
            ahead.append(self._ahead.submit(next, stream))
            yield batch

    def close(self) -> None:
        """End all threads."""
        self._ahead.shutdown(cancel_futures=True)
        self._readers.shutdown(cancel_futures=True)

    def _batches(self, position: Position | None) -> Iterator[tuple[Chunk, Position]]:
        begin = position or START
        for batch, end in _batched(self._examples(begin), self._batch):
            if self._masking:
                batch = self._masking(batch, _MASKS, begin["epoch"], begin["group"], begin["taken"])
            yield batch.rows(self._slice), end
            begin = end

    def _examples(self, position: Position) -> Iterator[tuple[Position, Chunk]]:
        """Shuffled examples from a position on, in chunks, each with its position."""
        first_group, taken = position["group"], position["taken"]
        for epoch in itertools.count(position["epoch"]):
            has_examples = False
            order = Generator(_bits(self._seed, _ORDER, epoch)).permutation(len(self._files))
            groups = [[self._files[n] for n in order[i : i + FILES]] for i in range(0, len(order), FILES)]
            for group in range(first_group, len(groups)):
                before = 0
                for chunk in self._shuffled(groups[group], Generator(_bits(self._seed, _SHUFFLE, epoch, group))):
                    has_examples = True
                    skipped = max(0, taken - before)
                    yield {"epoch": epoch, "group": group, "taken": before + skipped}, chunk.rows(slice(skipped, None))
                    before += len(chunk.ids)
                taken = 0
            if not (has_examples or first_group):
                raise Refusal(
                    f"there are no examples in {groups[0][0]} and {len(order) - 1} others; make the TFRecords again"
                )
            first_group = 0

    def _shuffled(self, files: list[str], generator: Generator) -> Iterator[Chunk]:
        """The examples of some files: each new one takes the place of one in the pool, which is passed on."""
        # Filled in place: joining chunks would take the memory twice.
        pool = empty(POOL + ROWS, self._sequence, self._predictions, self._masking is not None)
        size = 0
        for chunk in self._interleaved(files):
            places: Any = slice(size, size + len(chunk.ids))
            if size >= POOL:
                places = generator.choice(size, len(chunk.ids), replace=False)
                yield pool.rows(places)
            else:
                size += len(chunk.ids)
            arrays: Any = zip(pool, chunk, strict=True)
            for array, new in arrays:
                array[places] = new
        order = generator.permutation(size)
        for first in range(0, size, ROWS):
            yield pool.rows(order[first : first + ROWS])

    def _interleaved(self, files: list[str]) -> Iterator[Chunk]:
        """A chunk of each file in turn, read ahead by the readers."""
        starts = self._masking is not None
        sources = [chunks(path, self._sequence, self._predictions, starts, entries=self._entries) for path in files]
        ahead = deque((source, self._readers.submit(next, source, None)) for source in sources)
        while ahead:
            source, future = ahead.popleft()
            chunk = future.result()
            if chunk is not None:
                ahead.append((source, self._readers.submit(next, source, None)))
                yield chunk


def _batched(examples: Iterable[tuple[Position, Chunk]], size: int) -> Iterator[tuple[Chunk, Position]]:
    """Chunks, each with its position → batches of `size` examples, the last one maybe smaller, each with its end."""
    parts: list[Chunk] = []
    held, end = 0, START
    for position, chunk in examples:
        used = 0
        while used < len(chunk.ids):
            parts.append(chunk.rows(slice(used, used + size - held)))
            held, used = held + len(parts[-1].ids), used + len(parts[-1].ids)
            end = {**position, "taken": position["taken"] + used}
            if held == size:
                yield joined(parts), end
                parts, held = [], 0
    if parts:
        yield joined(parts), end


def held_out(
    files: list[str], sequence: int, predictions: int, batch: int, most: int,
    masking: Callable[..., Chunk] | None = None, entries: int = 2**31,
) -> Iterator[Batch]:  # fmt: skip
    """The examples of held-out files in their order, `most` batches at most; the last one may be smaller.

    `masking`: for examples without masks; the same ones at every call.
    """
    starts = masking is not None
    examples = (
        (START, chunk) for path in files for chunk in chunks(path, sequence, predictions, starts, entries=entries)
    )
    for number, (chunk, _) in enumerate(itertools.islice(_batched(examples, batch), most)):
        yield Batch.of(masking(chunk, _HELD_OUT, number) if masking else chunk)
