"""Gzip TFRecords → batches of integer arrays: shuffled, without end, from any position; held-out ones in order.

The stream depends on the files, the seed and the batch alone: not on the threads that read, nor on the number of
processes that share the batches. Files come in an order of their own each epoch, FILES at a time, interleaved chunk by
chunk; a pool of POOL examples shuffles what comes (27 MB at length 512; 52 MB with all that is read ahead). A position
is an epoch, a group of files, and how many of its examples were taken: going on from it reads that group from its
beginning, and no other.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np
from numpy.random import SFC64, Generator, SeedSequence
from numpy.typing import NDArray

from stages.command.refusal import Refusal
from stages.formats.decoding import ROWS, Chunk, chunks, empty, joined, put, rows
from stages.formats.examples import IS_SWAPPED, LENGTH, SEPARATOR, Masking

FILES = 8
POOL = 8192
# Batches that wait for the trainer.
AHEAD = 4
# What draws are for: the order of the files, the order of the examples, which tokens are masked.
_ORDER, _SHUFFLE, _MASKS, _HELD_OUT = range(4)
Position = dict[str, int]


class Batch(NamedTuple):
    """Examples to train on; each array has memory of its own."""

    ids: NDArray[np.int32]  # (examples, sequence)
    mask: NDArray[np.uint8]  # (examples, sequence) 1 for tokens, 0 for padding
    segments: NDArray[np.uint8]  # (examples, sequence)
    positions: NDArray[np.int32]  # (examples, predictions) of the masked tokens; unused slots are 0
    labels: NDArray[np.int32]  # (examples, predictions)
    weights: NDArray[np.float32]  # (examples, predictions) 0 for unused slots
    swapped: NDArray[np.int32]  # (examples,)

    def rows(self, which: slice) -> Batch:
        """Some of the examples, in this batch's memory."""
        arrays: Any = (array[which] for array in self)
        return Batch(*arrays)


def _draws(seed: int, what: int, *place: int) -> SFC64:
    """Draws of their own for each use and place. (A seed [1, 0] would be the same as [1].)"""
    return SFC64(SeedSequence(seed, spawn_key=(what, *place)))


class DynamicMasking:
    """Masks examples anew, as tfrecords does it: by words, with the budget of its options, in tfrecords' own code.

    `entries`: the vocabulary, entry to id; the rest as in the manifest of tfrecords. Examples that are masked already
    are first made whole: what stood at a position of weight 1 is its label.
    """

    def __init__(
        self, entries: dict[str, int], sequence: int, predictions: int, probability: float, ngram: int, seed: int
    ) -> None:
        self._masking = Masking(entries, sequence, predictions, probability, ngram)
        self._seed = seed

    def masked(self, chunk: Chunk, *position: int) -> Chunk:
        """The same examples with other tokens masked; which ones depends on the seed and the position.

        The chunk must have its word starts.
        """
        ids = chunk.ids.copy()
        examples, slots = np.nonzero(chunk.weights)
        ids[examples, chunk.positions[examples, slots]] = chunk.labels[examples, slots]
        shapes = np.zeros((len(ids), 4), np.int32)
        shapes[:, LENGTH] = chunk.mask.sum(1)
        # The first [SEP] is the last token of the first segment.
        shapes[:, SEPARATOR] = chunk.segments.argmax(1) - 1
        shapes[:, IS_SWAPPED] = chunk.swapped
        positions, labels, predicted = self._masking.mask_whole(
            _draws(self._seed, *position), ids, chunk.starts, shapes
        )
        weights = (np.arange(positions.shape[1]) < predicted[:, None]).astype(np.float32)
        return chunk._replace(ids=ids, positions=positions, labels=labels, weights=weights)


class TrainingData:
    """The batches of a run for one of its processes: `part` is (rank, processes), and takes its slice of each batch.

    Every process reads all examples, which costs it what the bench row says, and needs no talk between them. `readers`
    are threads: isal and the compiled decoder let others run. An id that is not below `entries` is refused.
    """

    def __init__(
        self, files: list[str], sequence: int, predictions: int, batch: int, seed: int, readers: int = 2,
        part: tuple[int, int] = (0, 1), masking: DynamicMasking | None = None, entries: int = 2**31,
    ) -> None:  # fmt: skip
        rank, processes = part
        if batch % processes:
            raise ValueError(f"{processes} processes cannot share a batch of {batch}")
        self._files, self._sequence, self._predictions = sorted(files), sequence, predictions
        self._batch, self._seed, self._masking, self._entries = batch, seed, masking, entries
        self._slice = slice(batch // processes * rank, batch // processes * (rank + 1))
        self._readers = ThreadPoolExecutor(readers, thread_name_prefix="reader")
        self._closed = threading.Event()
        self._thread: threading.Thread | None = None

    def batches(self, position: Position | None = None) -> Iterator[tuple[Batch, Position]]:
        """Batches without end, each with the position behind it. Refusal for a file that is damaged.

        Read ahead by a thread of its own, which `close` ends.
        """
        waiting: queue.Queue[Any] = queue.Queue(AHEAD)
        self._thread = threading.Thread(target=self._fill, args=(waiting, position), daemon=True)
        self._thread.start()
        while True:
            found = waiting.get()
            if isinstance(found, BaseException):
                raise found
            yield found

    def close(self) -> None:
        """End all threads."""
        self._closed.set()
        if self._thread is not None:
            self._thread.join()
        self._readers.shutdown(cancel_futures=True)

    def _fill(self, waiting: queue.Queue[Any], position: Position | None) -> None:
        try:
            for found in self._batches(position):
                if not self._put(waiting, found):
                    return
        except BaseException as error:
            self._put(waiting, error)

    def _put(self, waiting: queue.Queue[Any], found: Any) -> bool:
        while not self._closed.is_set():
            try:
                waiting.put(found, timeout=0.1)
                return True
            except queue.Full:
                continue
        return False

    def _batches(self, position: Position | None) -> Iterator[tuple[Batch, Position]]:
        at = dict(position or {"epoch": 0, "group": 0, "taken": 0})
        begins = (at["epoch"], at["group"], at["taken"])
        parts: list[Chunk] = []
        held = 0
        for epoch, group, chunk in self._examples(at):
            while len(chunk.ids):
                wanted = min(len(chunk.ids), self._batch - held)
                parts.append(rows(chunk, slice(wanted)))
                chunk = rows(chunk, slice(wanted, None))
                held += wanted
                same = (at["epoch"], at["group"]) == (epoch, group)
                at = {"epoch": epoch, "group": group, "taken": wanted + (at["taken"] if same else 0)}
                if held == self._batch:
                    whole = joined(parts)
                    if self._masking:
                        whole = self._masking.masked(whole, _MASKS, *begins)
                    yield self._own(whole), dict(at)
                    parts, held, begins = [], 0, (at["epoch"], at["group"], at["taken"])

    def _own(self, chunk: Chunk) -> Batch:
        return Batch(*(getattr(chunk, name)[self._slice] for name in Batch._fields))

    def _examples(self, at: Position) -> Iterator[tuple[int, int, Chunk]]:
        """Shuffled examples from a position on, with their epoch and group."""
        epoch, group, skipped = at["epoch"], at["group"], at["taken"]
        while True:
            found = False
            files = [self._files[n] for n in self._generator(_ORDER, epoch).permutation(len(self._files))]
            groups = [files[first : first + FILES] for first in range(0, len(files), FILES)]
            for number in range(group, len(groups)):
                for chunk in self._shuffled(groups[number], self._generator(_SHUFFLE, epoch, number)):
                    found = True
                    left = rows(chunk, slice(skipped, None))
                    skipped = max(0, skipped - len(chunk.ids))
                    yield epoch, number, left
                skipped = 0
            if not (found or group):
                raise Refusal(
                    f"there are no examples in {files[0]} and {len(files) - 1} others; make the TFRecords again"
                )
            epoch, group = epoch + 1, 0

    def _generator(self, what: int, *place: int) -> Generator:
        return Generator(_draws(self._seed, what, *place))

    def _shuffled(self, files: list[str], generator: Generator) -> Iterator[Chunk]:
        """The examples of some files: each that comes takes the place of one in the pool, which is passed on."""
        # Filled where it lies: joining chunks would take the memory twice.
        pool = empty(POOL + ROWS, self._sequence, self._predictions, self._masking is not None)
        size = 0
        for chunk in self._interleaved(files):
            if size < POOL:
                put(pool, slice(size, size + len(chunk.ids)), chunk)
                size += len(chunk.ids)
            else:
                places = generator.choice(size, len(chunk.ids), replace=False)
                yield rows(pool, places)
                put(pool, places, chunk)
        order = generator.permutation(size)
        for first in range(0, size, ROWS):
            yield rows(pool, order[first : first + ROWS])

    def _interleaved(self, files: list[str]) -> Iterator[Chunk]:
        """A chunk of each file in turn, read ahead by the readers."""
        starts = self._masking is not None
        open_files = [chunks(path, self._sequence, self._predictions, starts, entries=self._entries) for path in files]
        coming = [(file, self._readers.submit(next, file, None)) for file in open_files]
        while coming:
            going_on: list[tuple[Iterator[Chunk], Future[Chunk | None]]] = []
            for file, future in coming:
                chunk = future.result()
                if chunk is not None:
                    going_on.append((file, self._readers.submit(next, file, None)))
                    yield chunk
            coming = going_on


def held_out(
    files: list[str], sequence: int, predictions: int, batch: int, most: int, masking: DynamicMasking | None = None,
    entries: int = 2**31,
) -> Iterator[Batch]:  # fmt: skip
    """The examples of held-out files in their order, `most` batches at most; the last one may be smaller.

    `masking`: for examples without masks; the same ones at every call.
    """
    parts: list[Chunk] = []
    made = held = 0

    def batch_of(parts: list[Chunk]) -> Batch:
        whole = joined(parts)
        whole = masking.masked(whole, _HELD_OUT, made) if masking else whole
        return Batch(*(getattr(whole, name) for name in Batch._fields))

    for path in files:
        for chunk in chunks(path, sequence, predictions, masking is not None, entries=entries):
            while len(chunk.ids):
                if made == most:
                    return
                wanted = batch - held
                parts.append(rows(chunk, slice(wanted)))
                held += len(parts[-1].ids)
                chunk = rows(chunk, slice(wanted, None))
                if held == batch:
                    yield batch_of(parts)
                    parts, held, made = [], 0, made + 1
    if parts and made < most:
        yield batch_of(parts)
