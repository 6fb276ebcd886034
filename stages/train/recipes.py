"""RECIPE as a person says it → all that two recipes differ in: data, start, optimizer, rate, evaluation."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.random import SFC64, Generator, SeedSequence

from stages.formats.batches import Batch, DynamicMasking, Position, TrainingData, held_out
from stages.formats.decoding import Chunk
from stages.formats.shards import Shards
from stages.formats.windows import Examples, Whole, masked_examples, masked_windows
from stages.formats.yardstick import yardstick
from stages.train.held import Held
from stages.train.lamb import Lamb
from stages.train.model import Pretraining
from stages.train.muon import MuonAdamW
from stages.train.options import Options
from stages.train.schedule import learning_rate
from stages.train.start import counted, neighbour_start

# What is random in the efficient recipe, beside the uses of batches.py.
_MASKS = 100


class Efficient:
    """The recipe for budgets of minutes to days. README.md has the trials behind the numbers."""

    LENGTH = 128  # tokens of a window
    LONG = 5  # one step of so many takes examples as they are, in full length, with their sentence order
    MASKED = (0.3, 0.15)  # share of the tokens masked at the first and at the last step
    WORDS = 0.75  # share of the windows and examples that are masked by whole words; the others, by single tokens
    WARMUP = 78  # steps
    RATE, MUON = 4e-4, 14.0  # AdamW's peak rate, and Muon's as a multiple of it

    def __init__(self, options: Options, shards: Shards, tokens_an_example: float, entries: int) -> None:
        self.options, self.shards, self.entries = options, shards, entries
        self.length = min(self.LENGTH, shards.seq_length)
        processes = options.processes or 1
        wanted = options.batch_size * self.length / tokens_an_example / processes
        self.examples = processes * max(1, round(wanted))  # of TFRecords, in a batch

    def data(self, part: tuple[int, int]) -> TrainingData:
        """The stream of whole examples."""
        masking: Any = Whole()
        return Examples(
            self.shards.paths(self.shards.train), self.shards.seq_length, self.shards.max_predictions, self.examples,
            self.options.seed, self.options.readers, part=part, masking=masking, entries=self.entries,
        )  # fmt: skip

    def start(self, pretraining: Pretraining) -> None:
        """Initial values from the neighbours in the first examples of the stream."""
        data = self.data((0, 1))
        try:
            stream: Iterator[Any] = data.batches()
            counts = counted(_first_epoch(stream), self.entries)
        finally:
            data.close()
        neighbour_start(pretraining.model, counts, self.options.seed)

    def optimizer(self, pretraining: Pretraining) -> MuonAdamW:
        return MuonAdamW(pretraining.model.named_parameters(), self.MUON, Held(pretraining.model))

    def is_long(self, step: int) -> bool:
        return step % self.LONG == self.LONG - 1

    def batch(self, found: Chunk, step: int, rank: int) -> Batch:
        """The batch of a step, of the examples that the stream gave for it."""
        share = step / self.options.steps
        rate = self.MASKED[0] + (self.MASKED[1] - self.MASKED[0]) * share
        generator = Generator(SFC64(SeedSequence(self.options.seed, spawn_key=(_MASKS, step, rank))))
        if self.is_long(step):
            return masked_examples(found, rate, self.WORDS, generator)
        return masked_windows(found, self.length, rate, self.WORDS, generator)

    def rate(self, step: int) -> float:
        """AdamW's rate: up in WARMUP steps, then on a line to 0 at the end."""
        peak = self.options.learning_rate or self.RATE
        warmup = self.options.warmup or self.WARMUP
        return peak * min(1.0, (step + 1) / warmup) * (1 - step / self.options.steps)

    def evaluations(self) -> dict[str, Iterator[Batch]]:
        """Held-out batches by the prefix of their metrics: windows, and examples in full length."""
        return {
            "": yardstick(self.shards, self.entries, self.length),
            "full_length_": yardstick(self.shards, self.entries, None),
        }


class Published:
    """The recipe of nknytk/albert-japanese-tinysegmenter, as Google's program computes it."""

    def __init__(self, options: Options, shards: Shards, masking: DynamicMasking | None, entries: int) -> None:
        self.options, self.shards, self.masking, self.entries = options, shards, masking, entries

    def data(self, part: tuple[int, int]) -> TrainingData:
        return TrainingData(
            self.shards.paths(self.shards.train), self.shards.seq_length, self.shards.max_predictions,
            self.options.batch_size, self.options.seed, self.options.readers, part=part, masking=self.masking,
            entries=self.entries,
        )  # fmt: skip

    def start(self, pretraining: Pretraining) -> None:
        """Nothing but what `new_model` has drawn."""

    def optimizer(self, pretraining: Pretraining) -> Lamb:
        return Lamb(pretraining.model.named_parameters())

    def batch(self, found: Batch, step: int, rank: int) -> Batch:
        return found

    def rate(self, step: int) -> float:
        return learning_rate(step, self.options.rate, self.options.steps, self.options.warmup_steps)

    def evaluations(self) -> dict[str, Iterator[Batch]]:
        return {
            "": held_out(
                self.shards.paths(self.shards.held_out), self.shards.seq_length, self.shards.max_predictions,
                self.options.eval_batch, self.options.eval_steps, self.masking if self.shards.unmasked else None,
                self.entries,
            )
        }  # fmt: skip


Recipe = Efficient | Published


def _first_epoch(stream: Iterator[tuple[Chunk, Position]]) -> Iterator[Chunk]:
    """Chunks of a stream until it begins anew."""
    for chunk, position in stream:
        if position["epoch"]:
            return
        yield chunk


def tokens_of(batch: Batch) -> int:
    """Tokens of a batch that are not padding."""
    return int(np.count_nonzero(batch.mask))
