"""RECIPE → the parts in which two recipes differ: data, initial values, optimizer, rate, evaluation."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.random import SFC64, Generator, SeedSequence

from stages.formats.batches import Batch, DynamicMasking, Position, TrainingData, held_out, unmasked
from stages.formats.decoding import Chunk
from stages.formats.shards import Shards
from stages.formats.windows import held_out_evaluation, masked_examples, masked_windows
from stages.train.frozen import Frozen
from stages.train.lamb import Lamb
from stages.train.model import Pretraining
from stages.train.muon import MuonAdamW
from stages.train.options import Options
from stages.train.schedule import learning_rate
from stages.train.start import count_neighbours, neighbour_start

# The spawn key of the masks' random numbers, beside those of batches.py.
_MASKS = 100


class Efficient:
    """The recipe for budgets of minutes to days. README.md has the trials behind the numbers."""

    LENGTH = 128  # tokens of a window
    LONG = 5  # every fifth step takes examples in full length, with their sentence order
    MASKED = (0.3, 0.15)  # masked share of the tokens at the first and at the last step
    WORDS = 0.75  # share of the windows and examples with whole words masked; the others have single tokens masked
    WARMUP = 78  # steps
    RATE, MUON = 4e-4, 14.0  # AdamW's peak rate, and Muon's as a multiple of it

    def __init__(
        self, options: Options, shards: Shards, tokens_per_example: float, entries: int, processes: int
    ) -> None:
        self.options, self.shards, self.entries = options, shards, entries
        self.length = min(self.LENGTH, shards.seq_length)
        examples = options.batch_size * self.length / tokens_per_example / processes
        self.examples = processes * max(1, round(examples))  # of TFRecords, in a batch

    def data(self, part: tuple[int, int]) -> TrainingData:
        """The stream of examples without masks."""
        return TrainingData(
            self.shards.paths(self.shards.train), self.shards.seq_length, self.shards.max_predictions, self.examples,
            self.options.seed, self.options.readers, part=part, masking=unmasked, entries=self.entries,
        )  # fmt: skip

    def initialize(self, pretraining: Pretraining) -> None:
        """Set initial values by the neighbours in the first examples of the stream."""
        data = self.data((0, 1))
        try:
            counts = count_neighbours(_first_epoch(data.batches()), self.entries)
        finally:
            data.close()
        neighbour_start(pretraining.model, counts, self.options.seed)

    def optimizer(self, pretraining: Pretraining) -> MuonAdamW:
        return MuonAdamW(pretraining.model.named_parameters(), self.MUON, Frozen(pretraining.model))

    def batch(self, examples: Chunk, step: int, rank: int) -> Batch:
        """The batch of a step, from the next examples of the stream."""
        share = step / self.options.steps
        rate = self.MASKED[0] + (self.MASKED[1] - self.MASKED[0]) * share
        generator = Generator(SFC64(SeedSequence(self.options.seed, spawn_key=(_MASKS, step, rank))))
        if step % self.LONG == self.LONG - 1:
            return masked_examples(examples, rate, self.WORDS, generator)
        return masked_windows(examples, self.length, rate, self.WORDS, generator)

    def rate(self, step: int) -> float:
        """AdamW's rate: it rises in WARMUP steps, then falls linearly to 0 at the end."""
        peak = self.options.learning_rate or self.RATE
        warmup = self.WARMUP if self.options.warmup is None else self.options.warmup
        return peak * min(1.0, (step + 1) / max(1, warmup)) * (1 - step / self.options.steps)

    def evaluations(self) -> dict[str, Iterator[Batch]]:
        """Held-out batches by the prefix of their metrics: windows, and examples in full length."""
        return {
            "": held_out_evaluation(self.shards, self.entries, self.length),
            "full_length_": held_out_evaluation(self.shards, self.entries, None),
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

    def initialize(self, pretraining: Pretraining) -> None:
        """Keep the initial values of `new_model`."""

    def optimizer(self, pretraining: Pretraining) -> Lamb:
        return Lamb(pretraining.model.named_parameters())

    def batch(self, examples: Chunk, step: int, rank: int) -> Batch:
        return Batch.of(examples)

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
    """The chunks of a stream up to its second epoch."""
    for chunk, position in stream:
        if position["epoch"]:
            return
        yield chunk


def token_count(batch: Batch) -> int:
    """The tokens of a batch without padding."""
    return int(np.count_nonzero(batch.mask))
