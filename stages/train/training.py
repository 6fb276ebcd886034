"""Options and a setup → a trained, evaluated run in OUT, with transformers' ALBERT under PyTorch.

Each process, of `torchrun` or of `stages.train.processes`, has its part of every batch. Gradients are summed over the
processes. Random numbers depend on the seed and the step alone, so a resumed run has the numbers of an uninterrupted
one.
"""

from __future__ import annotations

import dataclasses
import math
import os
import sys
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from stages.command.progress import Progress
from stages.command.refusal import Refusal
from stages.command.stopping import Stop, Stopped
from stages.formats.pretraining import best_evaluation
from stages.handover import storage
from stages.handover.manifests import read_json, write_json
from stages.train import checkpoints
from stages.train.metrics import HELD_OUT, TRAIN, Metrics, Row
from stages.train.model import Pretraining, Sums, loss, means, new_model, tensors
from stages.train.optimizers import clip
from stages.train.options import Options
from stages.train.preflight import Setup
from stages.train.processes import Group
from stages.train.recipes import RECIPES, Efficient

# The global norm to which gradients are clipped, as in ALBERT's optimization.py.
MAX_GRADIENT_NORM = 1.0
# --hours: the file with the number of steps, and the trial that measures the time of one. A round has short and long
# steps. The later half of the rounds counts: in the first ones oneDNN compiles products for new shapes.
PLAN, ROUND, ROUNDS, TRIAL_SECONDS = "plan.json", Efficient.LONG, 3, 10.0


def train(options: Options, setup: Setup, group: Group, stop: Stop) -> Row | None:
    """Train to `options.steps` from the last checkpoint in OUT. Return the best evaluation, in the first process.

    The caller has claimed OUT and writes the manifest. Every `save_every` steps end in an evaluation on the held-out
    shards and a checkpoint. A signal in `stop` raises `Stopped` after the checkpoint of its step.
    """
    if options.hours:
        options = dataclasses.replace(options, steps=_planned_steps(options, setup, group))
    run, signum = _Run(options, setup, group), None
    try:
        run.resume(stop)
        # A signal from here on only ends the loop.
        stop.training = True
        run.module.train()
        while run.step < options.steps and signum is None:
            run.report(*run.advance())
            signum = group.any_signal(stop.signum)
            if run.evaluation_due():
                # If a signal interrupts the evaluation, the resumed run repeats it.
                run.evaluate(stop)
            if run.evaluation_due() or signum is not None:
                run.save()
                signum = group.any_signal(stop.signum)
        if signum is not None and run.step < options.steps:
            raise Stopped(signum, run.step)
    finally:
        stop.training = False
        run.close()
    return best_evaluation(run.metrics.held_out()) if group.first else None


def _planned_steps(options: Options, setup: Setup, group: Group) -> int:
    """The number of steps in `hours`: from OUT/plan.json, or by a trial of ROUNDS and of TRIAL_SECONDS at least."""
    path = storage.join(options.out, PLAN)
    planned = group.first and PLAN in storage.names(options.out)
    steps = int(group.total([float(read_json(path)["steps"]) if planned else 0.0])[0])
    if steps:
        return steps
    run = _Run(dataclasses.replace(options, steps=10**9), setup, group)
    run.module.train()
    # In the middle of a run as many tokens are masked as in its mean.
    run.step = run.options.steps // 2
    rounds: list[float] = []
    try:
        while len(rounds) < ROUNDS or sum(rounds) < TRIAL_SECONDS:
            start = run.seconds
            for _ in range(ROUND):
                run.advance()
            rounds.append(group.largest(run.seconds - start))
    finally:
        run.close()
    later = rounds[len(rounds) // 2 :]
    seconds = sum(later) / len(later) / ROUND
    steps = max(1, int((options.hours or 0) * 3600 / seconds))
    if group.first:
        device = setup.device.description
        write_json(path, {"steps": steps, "hours": options.hours, "seconds_a_step": seconds, "device": device})
        message = f"{steps:,} steps of {seconds:.3f} s in {options.hours:g} hours, written to {path}"
        print(f"train: {message}", file=sys.stderr, flush=True)
    return steps


class _Run:
    """The state of a training run, and its steps. Only the first process has metrics and progress."""

    metrics: Metrics
    progress: Progress | None = None

    def __init__(self, options: Options, setup: Setup, group: Group) -> None:
        self.options, self.setup, self.group, self.device = options, setup, group, setup.device
        self.recipe = RECIPES[options.recipe](options, setup, group.size)
        # On processors in bfloat16, tanh takes 10.1 ms in a layer of `tiny`, forward and backward, and erf 3.0. The two
        # differ by 0.0005 at most; the released model has the loss 3.42711 with one and 3.42714 with the other.
        erf = self.device.kind == "cpu" and self.device.bfloat16
        self.pretraining = Pretraining(new_model(setup.config, options.seed, erf))
        if options.init_checkpoint:
            self.pretraining.load(checkpoints.tensors_of(options.init_checkpoint))
        self.pretraining.to(group.device)
        self.optimizer = self.recipe.optimizer(self.pretraining.model)
        # Training may compile the module and wrap it for several processes. The parameters are the same.
        self.module = group.wrap(torch.compile(self.pretraining) if self.device.compile else self.pretraining)
        self.precision = torch.autocast(group.device.type, torch.bfloat16, enabled=self.device.bfloat16)
        self.data = self.recipe.data((group.rank, group.size))
        self.position: dict[str, int] | None = None
        self.batches: Iterator[tuple[Any, dict[str, int]]] = self.data.batches()
        self.step = self.tokens = 0
        self.sums = torch.zeros(len(Sums._fields) + 1, dtype=torch.float64)  # since the last row; the last one: steps
        self.seconds = 0.0  # of training, including those before the run was resumed
        self.note = ""

    def resume(self, stop: Stop) -> None:
        """Start from the last checkpoint in OUT, or from initial values."""
        steps = checkpoints.saved(self.options.out)
        if steps:
            self._restore(checkpoints.load(self.options.out, steps[-1]))
        elif not self.options.init_checkpoint:
            self.recipe.initialize(self.pretraining.model)
        if self.group.first:
            title = f"{os.path.basename(self.options.config)}, {self.options.out}"
            self.metrics = Metrics(self.options.out, self.step, title)
            self._prune()
            self.progress = Progress("train", "steps", self.options.steps - self.step)
        self.batches = self.data.batches(self.position)
        # Only the first process has the rows.
        missing = self.group.first and not any(row["step"] == self.step for row in self.metrics.held_out())
        if steps and self.evaluation_due() and self.group.total([float(missing)])[0]:
            self.evaluate(stop)
            self.save()

    def _restore(self, checkpoint: checkpoints.Checkpoint) -> None:
        self.pretraining.load(checkpoint.model)
        self.optimizer.load(checkpoint.optimizer)
        try:
            self.step, self.position = checkpoint.step, checkpoint.state["data"]
            self.seconds = float(checkpoint.state["seconds"])
            self.sums = torch.tensor(checkpoint.state["sums"], dtype=torch.float64)
        except (LookupError, TypeError, ValueError) as error:
            path = f"{checkpoints.folder_of(checkpoint.step)}/{checkpoints.STATE}"
            raise Refusal(f"{path} of {self.options.out} is damaged ({error}); remove its folder")
        before, now = checkpoint.state.get("device"), self.device.description
        if self.group.first and before not in (None, now):
            message = f"step {self.step:,} was computed on {before}, the next ones on {now}: the last digits differ"
            print(f"train: {message}", file=sys.stderr, flush=True)

    def evaluation_due(self) -> bool:
        return self.step % self.options.steps_to_save == 0 or self.step == self.options.steps

    def advance(self) -> tuple[float, Tensor]:
        """Take one step without a report. Return its rate and the norm of its gradient."""
        start = time.monotonic()
        examples, position = next(self.batches)
        batch = self.recipe.batch(examples, self.step, self.group.rank)
        rate = self.recipe.rate(self.step)
        self.tokens += int(np.count_nonzero(batch.mask))
        # Denominators of the whole batch in all processes: the losses of its parts add up to its loss.
        weights, orders = self.group.total([float(batch.weights.sum()), float((batch.swapped >= 0).sum())])
        orders = max(1.0, orders)  # Windows have no sentence order.
        # A part has about as many tokens at any length.
        size = self.device.micro_batch * max(1, self.setup.shards.seq_length // batch.ids.shape[1])
        parts = [batch.rows(slice(first, first + size)) for first in range(0, len(batch.ids), size)]
        # Dropout has the same random numbers in a resumed run.
        torch.manual_seed((self.options.seed * 1_000_003 + self.step) * 1_009 + self.group.rank)
        try:
            for part in parts:
                with self.group.gradient_exchange(self.module, part is parts[-1]), self.precision:
                    sums = self.module(tensors(part, self.group.device))
                # Processes exchange the mean of their gradients: times their number, it is the sum.
                (loss(sums, weights, orders) * self.group.size).backward()
                self.sums[:-1] += _vector(sums)
        except Exception as error:
            if not self.device.compile:
                raise
            # Imported late: it takes 1.6 s.
            from torch._dynamo.exc import TorchDynamoException

            if not isinstance(error, TorchDynamoException):
                raise
            reason = str(error).strip().splitlines()[0]
            raise Refusal(f"torch.compile failed ({reason}); --compile off trains without it") from error
        norm = clip(self.pretraining.parameters(), MAX_GRADIENT_NORM)
        with self.precision:
            self.optimizer.step(rate)
        self.optimizer.zero_grad()
        self.step, self.position = self.step + 1, position
        self.sums[-1] += 1
        self.seconds += time.monotonic() - start
        return rate, norm

    def report(self, rate: float, norm: Tensor) -> None:
        """Add a row of metrics if one is due. Update the progress line."""
        row_due = self.step % self.options.steps_a_row == 0 or self.step in (1, self.options.steps)
        if row_due:
            values = means(self.group.total(self.sums.tolist())[:-1])
            self.sums.zero_()
        if self.progress is None:
            return
        if row_due:
            total = values["masked_lm_loss"] + values["sentence_order_loss"]
            if not math.isfinite(total):
                raise Refusal(
                    f"the loss is not a number at step {self.step:,}: the rate {rate:g} is too high for this model and "
                    "batch; start again with a lower --learning-rate and another --out"
                )
            self.metrics.add({
                "of": TRAIN, "step": self.step, "loss": total, **values, "learning_rate": rate,
                "gradient_norm": float(norm), "seconds": round(self.seconds, 3),
            })  # fmt: skip
            self.note = f"loss {total:.3f}"
        speed = self.tokens * self.group.size / max(time.monotonic() - self.progress.start, 1e-9)
        self.progress.add(1, f"{self.note}, {speed:,.0f} tokens/s")

    @torch.no_grad()  # type: ignore[untyped-decorator]
    def evaluate(self, stop: Stop) -> None:
        """Add a row of the held-out examples. Each process takes its share of the batches."""
        self.module.eval()
        row: Row = {}
        for prefix, batches in self.recipe.evaluations().items():
            sums = torch.zeros(len(Sums._fields), dtype=torch.float64)
            for number, batch in enumerate(batches):
                if stop.signum is not None and self.group.size == 1 and self.step < self.options.steps:
                    return
                if number % self.group.size == self.group.rank:
                    with self.precision:
                        sums += _vector(self.pretraining(tensors(batch, self.group.device)))
            row |= {prefix + name: value for name, value in means(self.group.total(sums.tolist())).items()}
        self.module.train()
        # Only examples in full length have a sentence order; windows have none.
        for name in ("sentence_order_accuracy", "sentence_order_loss"):
            row[name] = row.pop(f"full_length_{name}", row[name])
        if self.group.first:
            self.metrics.add({"of": HELD_OUT, "step": self.step, **row, "seconds": round(self.seconds, 3)})

    def save(self) -> None:
        """Write a checkpoint of this step, unless it is there, the best model, the metrics and the plot."""
        if self.group.first:
            # Metrics first: a resumed run drops rows after its checkpoint but cannot restore rows before it.
            self.metrics.write()
            if self.step not in checkpoints.saved(self.options.out):
                state = {
                    "data": self.position, "seconds": self.seconds, "sums": self.sums.tolist(),
                    "device": self.device.description,
                }  # fmt: skip
                weights, moments = self.pretraining.state(), self.optimizer.state
                checkpoint = checkpoints.Checkpoint(self.step, weights, moments, state)
                checkpoints.save(self.options.out, checkpoint, self.setup.config)
            self._prune()
            self.metrics.draw(now=self.step == self.options.steps)
        self.group.wait()

    def _prune(self) -> None:
        best = best_evaluation(self.metrics.held_out())
        checkpoints.prune(self.options.out, self.options.keep, best, self.setup.config)

    def close(self) -> None:
        self.data.close()
        if self.progress:
            self.progress.close(self.note)


def _vector(sums: Sums) -> Tensor:
    """The sums as float64 on the processor, so that adding them loses no digits."""
    return torch.stack([value.detach().double() for value in sums]).cpu()
