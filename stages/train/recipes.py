"""RECIPE → the parts in which two recipes differ: data, initial values, optimizer, rate, evaluation."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator

import numpy as np
from numpy.random import SFC64, Generator, SeedSequence
from transformers import AlbertForPreTraining

from stages.formats.batches import Batch, TrainingData, held_out, unmasked
from stages.formats.decoding import Chunk
from stages.formats.windows import CLS, held_out_evaluation, masked_examples, masked_windows
from stages.handover.manifests import read_manifest
from stages.train.optimizers import Lamb, MuonAdamW
from stages.train.options import Options
from stages.train.preflight import Setup
from stages.train.start import frozen, neighbour_start

# The spawn key of the masks' random numbers, beside those of batches.py.
_MASKS = 100


class _Recipe:
    """The data of a run: a stream of `examples` of TFRecords a step."""

    def __init__(self, options: Options, setup: Setup, processes: int) -> None:
        self.options, self.shards, self.entries = options, setup.shards, setup.config["vocab_size"]
        self.masking: Callable[..., Chunk] | None = setup.masking
        self.examples = options.batch_size

    def data(self, part: tuple[int, int]) -> TrainingData:
        return TrainingData(
            self.shards.paths(self.shards.train), self.shards.seq_length, self.shards.max_predictions, self.examples,
            self.options.seed, self.options.readers, part=part, masking=self.masking, entries=self.entries,
        )  # fmt: skip


class Efficient(_Recipe):
    """The recipe for budgets of minutes to days. README.md has the trials behind the numbers."""

    LENGTH = 128  # tokens of a window
    LONG = 5  # every fifth step takes examples in full length, with their sentence order
    MASKED = (0.3, 0.15)  # masked share of the tokens at the first and at the last step
    WORDS = 0.75  # share of the windows and examples with whole words masked; the others have single tokens masked
    WARMUP = 78  # steps
    RATE, MUON = 4e-4, 14.0  # AdamW's peak rate, and Muon's as a multiple of it
    COUNTED = 8_000_000  # tokens

    def __init__(self, options: Options, setup: Setup, processes: int) -> None:
        super().__init__(options, setup, processes)
        self.masking = unmasked
        self.length = min(self.LENGTH, self.shards.seq_length)
        counts = read_manifest(options.tfrecords, "tfrecords")["counts"]
        tokens_per_example = counts["tokens"] / counts["examples"]
        examples = options.batch_size * self.length / tokens_per_example / processes
        self.examples = processes * max(1, round(examples))

    def initialize(self, model: AlbertForPreTraining) -> None:
        """Set initial values by the neighbours in the first COUNTED tokens of the stream, or in its first epoch."""
        texts, size, data = [np.empty(0, np.int32)], 0, self.data((0, 1))
        try:
            for examples, position in data.batches():
                if position["epoch"] or size >= self.COUNTED:
                    break
                texts.append(examples.ids[(examples.mask > 0) & (examples.ids != CLS)])
                size += len(texts[-1])
        finally:
            data.close()
        neighbour_start(model, np.concatenate(texts), self.options.seed)

    def optimizer(self, model: AlbertForPreTraining) -> MuonAdamW:
        return MuonAdamW(model.named_parameters(), self.MUON, functools.partial(frozen, model))

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


class Published(_Recipe):
    """The recipe of nknytk/albert-japanese-tinysegmenter, as Google's program computes it."""

    def initialize(self, model: AlbertForPreTraining) -> None:
        """Keep the initial values of `new_model`."""

    def optimizer(self, model: AlbertForPreTraining) -> Lamb:
        return Lamb(model.named_parameters())

    def batch(self, examples: Chunk, step: int, rank: int) -> Batch:
        return Batch.of(examples)

    def rate(self, step: int) -> float:
        """LAMB's rate of the update from `step` to `step + 1`, by ALBERT's optimization.py.

        It rises linearly from 0 during warm-up. After that it follows the line from the peak at step 0 to 0 at the end,
        and so drops where the two meet.
        """
        peak, steps, warmup = self.options.rate, self.options.steps, self.options.warmup_steps
        return peak * step / warmup if step < warmup else peak * (1 - min(step, steps) / steps)

    def evaluations(self) -> dict[str, Iterator[Batch]]:
        return {
            "": held_out(
                self.shards.paths(self.shards.held_out), self.shards.seq_length, self.shards.max_predictions,
                self.options.eval_batch, self.options.eval_steps, self.masking if self.shards.unmasked else None,
                self.entries,
            )
        }  # fmt: skip


RECIPES: dict[str, type[Efficient] | type[Published]] = {"efficient": Efficient, "published": Published}
