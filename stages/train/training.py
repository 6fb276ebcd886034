"""Options and a setup → a trained, evaluated run in OUT, with transformers' ALBERT under PyTorch.

Each process, of `torchrun` or of `stages.train.processes`, has its part of every batch. Gradients are summed over the
processes. Random numbers depend on the seed and the step alone, so a resumed run has the numbers of an uninterrupted
one.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
import os
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from stages.command.progress import Progress
from stages.command.refusal import Refusal
from stages.command.stopping import Stop, Stopped
from stages.formats.pretraining import best_evaluation
from stages.handover import storage
from stages.handover.manifests import read_json, write_json
from stages.train import checkpoints
from stages.train.checkpoints import Checkpoint
from stages.train.lamb import clip
from stages.train.metrics import FILE as METRICS
from stages.train.metrics import HELD_OUT, SUMS, TRAIN, Metrics, Row, means
from stages.train.model import Pretraining, Sums, loss, new_model, tensors
from stages.train.options import Options
from stages.train.plot import FILES as PICTURES
from stages.train.plot import Plot
from stages.train.preflight import Setup
from stages.train.processes import Group
from stages.train.recipes import Efficient, Published, Recipe, token_count

# The global norm to which gradients are clipped, as in ALBERT's optimization.py.
MAX_GRADIENT_NORM = 1.0
EVENTS = "events"
# --hours: the file with the number of steps, and the trial that measures the time of one. A round has short and long
# steps. The later half of the rounds counts: in the first ones oneDNN compiles products for new shapes.
PLAN, ROUND, ROUNDS, TRIAL_SECONDS = "plan.json", Efficient.LONG, 3, 10.0


def train(options: Options, setup: Setup, group: Group, stop: Stop) -> Row | None:
    """Train to `options.steps` from the last checkpoint in OUT. Return the best evaluation, in the first process.

    The caller has claimed OUT and writes the manifest. Every `save_every` steps end in an evaluation on the held-out
    shards and a checkpoint. A signal in `stop` raises `Stopped` after the checkpoint of its step.
    """
    entries = setup.config["vocab_size"]

    def recipe_of(options: Options) -> Recipe:
        if options.recipe == "efficient":
            return Efficient(options, setup.shards, setup.tokens_per_example, entries, group.size)
        return Published(options, setup.shards, setup.masking, entries)

    if options.hours:
        options = dataclasses.replace(options, steps=_planned_steps(options, setup, group, recipe_of))
    run = _Run(options, setup, group, recipe_of(options))
    try:
        run.resume(stop)
        # Set for the whole loop: the next step answers a signal between two intervals.
        stop.training = True
        while run.step < options.steps:
            run.train_to(min(options.steps, (run.step // options.steps_to_save + 1) * options.steps_to_save), stop)
    finally:
        stop.training = False
        run.close()
    return best_evaluation(run.metrics.held_out()) if group.first else None


def _planned_steps(options: Options, setup: Setup, group: Group, recipe_of: Callable[[Options], Recipe]) -> int:
    """The number of steps in `hours`: from OUT/plan.json, or by a trial of ROUNDS and of TRIAL_SECONDS at least."""
    path = storage.join(options.out, PLAN)
    steps = 0
    if group.first and PLAN in storage.names(options.out):
        steps = int(read_json(path)["steps"])
    (steps,) = map(int, group.total([float(steps)]))
    if steps:
        return steps
    trial = dataclasses.replace(options, steps=10**9)
    run = _Run(trial, setup, group, recipe_of(trial))
    rounds: list[float] = []
    try:
        run.batches = run.data.batches(None)
        run.module.train()
        while len(rounds) < ROUNDS or sum(rounds) < TRIAL_SECONDS:
            start = run.seconds
            for _ in range(ROUND):
                run.advance()
            rounds.append(group.largest(run.seconds - start))
    finally:
        run.data.close()
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
    """The state of a training run, and its steps."""

    def __init__(self, options: Options, setup: Setup, group: Group, recipe: Recipe) -> None:
        self.options, self.group, self.recipe = options, group, recipe
        self.shards, self.config, self.device = setup.shards, setup.config, setup.device
        self.out = options.out
        # On processors in bfloat16, tanh takes 10.1 ms in a layer of `tiny`, forward and backward, and erf 3.0. The two
        # differ by 0.0005 at most; the released model has the loss 3.42711 with one and 3.42714 with the other.
        erf = self.device.kind == "cpu" and self.device.bfloat16
        self.pretraining = Pretraining(new_model(self.config, options.seed, erf))
        if options.init_checkpoint:
            self.pretraining.load(checkpoints.tensors_of(options.init_checkpoint))
        self.pretraining.to(group.device)
        self.optimizer = recipe.optimizer(self.pretraining)
        # Training may compile the module and wrap it for several processes. The parameters are the same.
        self.module = group.wrap(torch.compile(self.pretraining) if self.device.compile else self.pretraining)
        self.data = recipe.data((group.rank, group.size))
        self.step = self.tokens = 0
        self.position: dict[str, int] | None = None
        self.sums = torch.zeros(len(SUMS) + 1, dtype=torch.float64)  # since the last row, then the number of steps
        self.seconds = 0.0  # of training, including those before the run was resumed
        self.batches: Iterator[tuple[Any, dict[str, Any]]] | None = None
        self.note = ""

    def resume(self, stop: Stop) -> None:
        """Start from the last checkpoint in OUT, or from initial values."""
        steps = checkpoints.saved(self.out)
        if steps:
            self._restore(checkpoints.load(self.out, steps[-1]))
        elif not self.options.init_checkpoint:
            self.recipe.initialize(self.pretraining)
        if self.group.first:
            self.metrics = Metrics(self.out, self.step)
            self.plot = Plot(self.out, f"{os.path.basename(self.options.config)}, {self.options.out}")
            self.events = _Events(self.out, self.step)
            self._keep_best()
            self.progress = Progress("train", "steps", self.options.steps - self.step)
        self.batches = self.data.batches(self.position)
        due = self.step % self.options.steps_to_save == 0 or self.step == self.options.steps
        # Only the first process has the rows.
        missing = self.group.first and not any(row["step"] == self.step for row in self.metrics.held_out())
        if steps and due and self.group.total([float(missing)])[0]:
            self._evaluate(stop)
            if self.group.first:
                self.metrics.write()
            self._finish_save()

    def _restore(self, checkpoint: Checkpoint) -> None:
        self.pretraining.load(checkpoint.model)
        self.optimizer.load(checkpoint.optimizer)
        try:
            self.step, self.position = checkpoint.step, checkpoint.state["data"]
            self.seconds = float(checkpoint.state["seconds"])
            self.sums = torch.tensor(checkpoint.state["sums"], dtype=torch.float64)
        except (LookupError, TypeError, ValueError) as error:
            path = f"{checkpoints.folder_of(checkpoint.step)}/{checkpoints.STATE}"
            raise Refusal(f"{path} of {self.out} is damaged ({error}); remove its folder")
        before, now = checkpoint.state.get("device"), self.device.description
        if self.group.first and before not in (None, now):
            message = f"step {self.step:,} was computed on {before}, the next ones on {now}: the last digits differ"
            print(f"train: {message}", file=sys.stderr, flush=True)

    def train_to(self, last: int, stop: Stop) -> None:
        """Train to step `last`, or to the end of the step in which a signal comes. Evaluate at `last`, then save.

        If a signal interrupts the evaluation, the resumed run repeats it.
        """
        self.module.train()
        signum = None
        while self.step < last and signum is None:
            self._report(*self.advance())
            signum = self.group.any_signal(stop.signum)
        if self.step == last:
            self._evaluate(stop)
        self._save()
        signum = self.group.any_signal(stop.signum)
        if signum is not None and self.step < self.options.steps:
            raise Stopped(signum, self.step)

    def advance(self) -> tuple[float, Tensor]:
        """Take one step without a report. Return its rate and the norm of its gradient."""
        start = time.monotonic()
        assert self.batches is not None
        examples, position = next(self.batches)
        batch = self.recipe.batch(examples, self.step, self.group.rank)
        rate = self.recipe.rate(self.step)
        self.tokens += token_count(batch)
        # Denominators of the whole batch in all processes: the losses of its parts add up to its loss.
        weights, orders = self.group.total([float(batch.weights.sum()), float((batch.swapped >= 0).sum())])
        orders = max(1.0, orders)  # Windows have no sentence order.
        # A part has about as many tokens at any length.
        size = self.device.micro_batch(self.options) * max(1, self.shards.seq_length // batch.ids.shape[1])
        parts = [batch.rows(slice(first, first + size)) for first in range(0, len(batch.ids), size)]
        # Dropout has the same random numbers in a resumed run.
        torch.manual_seed((self.options.seed * 1_000_003 + self.step) * 1_009 + self.group.rank)
        try:
            for number, part in enumerate(parts):
                last = number == len(parts) - 1
                with self.group.gradient_exchange(self.module, last), self._precision():
                    sums = self.module(tensors(part, self.group.device))
                self.group.backward(loss(sums, weights, orders))
                self.sums[:-1] += _vector(sums)
        except Exception as error:
            if not self.device.compile or not _is_compile_error(error):
                raise
            reason = str(error).strip().splitlines()[0]
            raise Refusal(f"torch.compile failed ({reason}); --compile off trains without it") from error
        norm = clip(self.pretraining.parameters(), MAX_GRADIENT_NORM)
        with self._precision():
            self.optimizer.step(rate)
        self.optimizer.zero_grad()
        self.step, self.position = self.step + 1, position
        self.sums[-1] += 1
        self.seconds += time.monotonic() - start
        return rate, norm

    def _precision(self) -> Any:
        if not self.device.bfloat16:
            return contextlib.nullcontext()
        return torch.autocast(self.group.device.type, dtype=torch.bfloat16)

    def _report(self, rate: float, norm: Tensor) -> None:
        """Add a row of metrics if one is due. Update the progress line."""
        row_due = self.step % self.options.steps_a_row == 0 or self.step in (1, self.options.steps)
        if row_due:
            *sums, _ = self.group.total(self.sums.tolist())
            self.sums.zero_()
        if not self.group.first:
            return
        if row_due:
            values = means(sums)
            total = values["masked_lm_loss"] + values["sentence_order_loss"]
            if not math.isfinite(total):
                raise Refusal(
                    f"the loss is not a number at step {self.step:,}: the rate {rate:g} is too high for this model and "
                    "batch; start again with a lower --learning-rate and another --out"
                )
            row = {
                "of": TRAIN, "step": self.step, "loss": total, **values, "learning_rate": rate,
                "gradient_norm": float(norm), "seconds": round(self.seconds, 3),
            }  # fmt: skip
            self.metrics.add(row)
            self.events.add(row)
            self.plot.draw(self.metrics.rows)
            self.note = f"loss {total:.3f}"
        speed = self.tokens * self.group.size / max(time.monotonic() - self.progress.start, 1e-9)
        self.progress.add(1, f"{self.note}, {speed:,.0f} tokens/s")

    @torch.no_grad()  # type: ignore[untyped-decorator]
    def _evaluate(self, stop: Stop) -> None:
        """Add a row of the held-out examples. Each process takes its share of the batches."""
        self.module.eval()
        row: Row = {}
        for prefix, batches in self.recipe.evaluations().items():
            sums = torch.zeros(len(SUMS), dtype=torch.float64)
            for number, batch in enumerate(batches):
                if stop.signum is not None and self.group.size == 1 and self.step < self.options.steps:
                    return
                if number % self.group.size == self.group.rank:
                    with self._precision():
                        batch_sums = self.pretraining(tensors(batch, self.group.device))
                    sums += _vector(batch_sums)
            row |= {prefix + name: value for name, value in means(self.group.total(sums.tolist())).items()}
        self.module.train()
        # Only examples in full length have a sentence order; windows have none.
        for name in ("sentence_order_accuracy", "sentence_order_loss"):
            row[name] = row.pop(f"full_length_{name}", row[name])
        if self.group.first:
            row = {"of": HELD_OUT, "step": self.step, **row, "seconds": round(self.seconds, 3)}
            self.metrics.add(row)
            self.events.add(row)

    def _save(self) -> None:
        """Write a checkpoint of this step, the best model, the metrics and the plot."""
        if self.group.first:
            # Metrics first: a resumed run drops rows after its checkpoint but cannot restore rows before it.
            self.metrics.write()
            state = {
                "data": self.position, "seconds": self.seconds, "sums": self.sums.tolist(),
                "device": self.device.description,
            }  # fmt: skip
            if self.step not in checkpoints.saved(self.out):
                checkpoint = Checkpoint(self.step, self.pretraining.state(), self.optimizer.state(), state)
                checkpoints.save(self.out, checkpoint, self.config)
        self._finish_save()

    def _finish_save(self) -> None:
        if self.group.first:
            self._keep_best()
            self.plot.draw(self.metrics.rows, now=self.step == self.options.steps)
        self.group.wait()

    def _keep_best(self) -> None:
        """Copy the best model to OUT/best before old checkpoints are removed."""
        best = best_evaluation(self.metrics.held_out())
        if best:
            checkpoints.write_best(self.out, best, self.config)
        checkpoints.prune(self.out, self.options.keep)

    def close(self) -> None:
        self.data.close()
        if self.batches is not None and self.group.first:
            self.metrics.close()
            self.progress.close(self.note)


def _is_compile_error(error: Exception) -> bool:
    # Imported late: it takes 1.6 s, and only --compile needs it.
    from torch._dynamo.exc import TorchDynamoException

    return isinstance(error, TorchDynamoException)


def _vector(sums: Sums) -> Tensor:
    """SUMS as float64 on the processor, so that adding them loses no digits."""
    return torch.stack([getattr(sums, name).detach().double() for name in SUMS]).cpu()


class _Events:
    """TensorBoard's event files in OUT/events: on a disk alone, since their writer appends."""

    def __init__(self, out: str, step: int) -> None:
        self._writer = None
        if storage.written_once(out):
            return
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            from torch.utils.tensorboard import SummaryWriter
        # TensorBoard hides events after the checkpoint. They are of an interrupted run.
        self._writer = SummaryWriter(os.path.join(out, EVENTS), purge_step=step + 1)

    def add(self, row: Row) -> None:
        if self._writer:
            for name in sorted(set(row) - {"of", "step", "seconds"}):
                self._writer.add_scalar(f"{name}/{row['of']}", row[name], row["step"], new_style=True)
            self._writer.flush()


def output_files(out: str) -> list[str]:
    """The files that the manifest of a finished run lists: best model, last checkpoints, metrics and plot."""
    outputs = (checkpoints.BEST, METRICS, *PICTURES)
    folders = {name: name.partition("/")[0] for name in storage.files_below(out)}
    return [name for name, folder in folders.items() if folder in outputs or folder.startswith("step-")]
