"""Options, shards and a configuration → a trained, evaluated run in OUT, with transformers' ALBERT under PyTorch.

One process, or several of one `torchrun` (or of `stages.train.processes`): each has its part of every batch, gradients
are added up over them. Random draws depend only on the seed and the step, so a run resumes from a checkpoint as if it
had never stopped.
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
from stages.formats.batches import DynamicMasking
from stages.formats.pretraining import best_evaluation
from stages.formats.shards import Shards
from stages.handover import storage
from stages.handover.manifests import read_json, write_json
from stages.train import checkpoints
from stages.train.checkpoints import Checkpoint
from stages.train.devices import Device
from stages.train.lamb import clip
from stages.train.metrics import FILE as METRICS
from stages.train.metrics import HELD_OUT, SUMS, TRAIN, Metrics, Row, means
from stages.train.model import Pretraining, Sums, loss, new_model, tensors
from stages.train.options import Options
from stages.train.plot import FILES as PICTURES
from stages.train.plot import Plot
from stages.train.processes import Group
from stages.train.recipes import Efficient, Published, Recipe, tokens_of

# Gradients are clipped to this global norm, as ALBERT's optimization.py does.
LONGEST_GRADIENT = 1.0
EVENTS = "events"
# The steps of a run of --hours; how many are measured for it, and the first of those, which prepare what the others
# find. The others are whole rounds of short and long steps.
PLAN, WARM = "plan.json", Efficient.LONG
MEASURED = WARM + 2 * Efficient.LONG


def train(
    options: Options, shards: Shards, config: dict[str, Any], device: Device, group: Group, stop: Stop,
    masking: DynamicMasking | None, tokens_an_example: float,
) -> Row | None:  # fmt: skip
    """Train to `options.steps` from the last checkpoint in OUT; returns the best evaluation, in the first process.

    The caller has claimed OUT and writes the manifest. Every `save_every` steps end in an evaluation on the held-out
    shards and a checkpoint. A signal that `stop` has seen ends this in `Stopped`, behind the checkpoint of its step.
    """

    def recipe_of(options: Options) -> Recipe:
        if options.recipe == "efficient":
            return Efficient(options, shards, tokens_an_example, config["vocab_size"])
        return Published(options, shards, masking, config["vocab_size"])

    if options.hours:
        options = dataclasses.replace(options, steps=_steps_of(options, shards, config, device, group, recipe_of))
    run = _Run(options, shards, config, device, group, recipe_of(options))
    try:
        run.go_on(stop)
        # To the end, between two pieces as well: a signal there is answered by the step that follows.
        stop.training = True
        while run.step < options.steps:
            run.to(min(options.steps, (run.step // options.steps_to_save + 1) * options.steps_to_save), stop)
    finally:
        stop.training = False
        run.close()
    return best_evaluation(run.metrics.held_out()) if group.first else None


def _steps_of(
    options: Options, shards: Shards, config: dict[str, Any], device: Device, group: Group,
    recipe_of: Callable[[Options], Recipe],
) -> int:  # fmt: skip
    """The steps that `hours` have room for: as kept in OUT, else as MEASURED steps take now."""
    path = storage.join(options.out, PLAN)
    steps = 0
    if group.first and PLAN in storage.names(options.out):
        steps = int(read_json(path)["steps"])
    (steps,) = map(int, group.total([float(steps)]))
    if steps:
        return steps
    trial = dataclasses.replace(options, steps=MEASURED)
    run = _Run(trial, shards, config, device, group, recipe_of(trial))
    marks = [0.0]
    try:
        run.batches = run.data.batches(None)
        run.module.train()
        for _ in range(MEASURED):
            run.advance()
            marks.append(run.seconds)
    finally:
        run.data.close()
    step = (marks[-1] - marks[WARM]) / (MEASURED - WARM)
    slowest = max(group.total([step * (rank == group.rank) for rank in range(group.size)]))
    steps = max(1, int((options.hours or 0) * 3600 / slowest))
    if group.first:
        write_json(path, {"steps": steps, "hours": options.hours, "seconds_a_step": slowest, "device": device.words})
        said = f"{steps:,} steps of {slowest:.3f} s in {options.hours:g} hours, kept in {path}"
        print(f"train: {said}", file=sys.stderr, flush=True)
    return steps


class _Run:
    """A model in training: all that a checkpoint holds, and how to take a step."""

    def __init__(
        self, options: Options, shards: Shards, config: dict[str, Any], device: Device, group: Group,
        recipe: Recipe,
    ) -> None:  # fmt: skip
        self.options, self.shards, self.config, self.group = options, shards, config, group
        self.device, self.target = device, group.device
        self.out = options.out
        self.pretraining = Pretraining(new_model(config, options.seed))
        if options.init_checkpoint:
            self.pretraining.load(checkpoints.tensors_of(options.init_checkpoint))
        self.pretraining.to(self.target)
        self.recipe = recipe
        self.optimizer = recipe.optimizer(self.pretraining)
        # In training all of it may be compiled, and wrapped for several processes; the parameters are the same.
        self.module = group.wrapped(torch.compile(self.pretraining) if device.compiled else self.pretraining)
        self.data = recipe.data((group.rank, group.size))
        self.step = self.tokens = 0
        self.position: dict[str, int] | None = None
        self.sums = torch.zeros(len(SUMS) + 1, dtype=torch.float64)  # since the last row; the last one counts steps
        self.seconds = 0.0  # of training, in all processes that had a part in this run
        self.batches: Iterator[tuple[Any, dict[str, Any]]] | None = None
        self.said = ""

    def go_on(self, stop: Stop) -> None:
        """From the last checkpoint in OUT, or from the beginning."""
        steps = checkpoints.saved(self.out)
        if steps:
            found = checkpoints.load(self.out, steps[-1])
            self._take(found)
        elif not self.options.init_checkpoint:
            self.recipe.start(self.pretraining)
        if self.group.first:
            self.metrics = Metrics(self.out, self.step)
            self.plot = Plot(self.out, f"{os.path.basename(self.options.config)}, {self.options.out}")
            self.events = _Events(self.out, self.step)
            best = best_evaluation(self.metrics.held_out())
            if best:
                checkpoints.write_best(self.out, best, self.config)
            checkpoints.prune(self.out, self.options.keep)
            self.progress = Progress("train", "steps", self.options.steps - self.step)
        self.batches = self.data.batches(self.position)
        if steps and self._is_due() and self.group.total([float(self._lacks_evaluation())])[0]:
            self._evaluate(stop)
            if self.group.first:
                self.metrics.write()
            self._keep_results()

    def _take(self, found: Checkpoint) -> None:
        self.pretraining.load(found.model)
        self.optimizer.load(found.optimizer)
        try:
            self.step, self.position = found.step, found.state["data"]
            self.seconds = float(found.state["seconds"])
            self.sums = torch.tensor(found.state["sums"], dtype=torch.float64)
        except (LookupError, TypeError, ValueError) as error:
            raise Refusal(f"{checkpoints.folder_of(found.step)}/{checkpoints.STATE} of {self.out} is damaged ({error})")
        before, now = found.state.get("device"), self.device.words
        if self.group.first and before not in (None, now):
            said = f"step {self.step:,} was computed on {before}, the next ones on {now}: other last digits than there"
            print(f"train: {said}", file=sys.stderr, flush=True)

    def to(self, last: int, stop: Stop) -> None:
        """Train up to step `last`, or to the end of the step in which a signal comes; then evaluate there, and save.

        An evaluation that a signal cuts off is made by the run that resumes.
        """
        self.module.train()
        signum = None
        while self.step < last and signum is None:
            self._one_step()
            signum = self.group.any_signal(stop.signum)
        if self.step == last:
            self._evaluate(stop)
        self._save()
        signum = self.group.any_signal(stop.signum)
        if signum is not None and self.step < self.options.steps:
            raise Stopped(signum, self.step)

    def _one_step(self) -> None:
        self._tell(*self.advance())

    def advance(self) -> tuple[float, Tensor]:
        """One step, without a word of it; gives its rate and the norm of its gradient."""
        start = time.monotonic()
        assert self.batches is not None
        found, position = next(self.batches)
        batch = self.recipe.batch(found, self.step, self.group.rank)
        rate = self.recipe.rate(self.step)
        self.tokens += tokens_of(batch)
        # Denominators of the whole batch, of all processes: parts add up to its loss.
        weights, examples = self.group.total([float(batch.weights.sum()), float((batch.swapped >= 0).sum())])
        examples = max(1.0, examples)  # Windows have no sentence order.
        # A part has about as many tokens whatever the length.
        micro = self.micro * max(1, self.shards.seq_length // batch.ids.shape[1])
        parts = [batch.rows(slice(at, at + micro)) for at in range(0, len(batch.ids), micro)]
        # A model with dropout draws the same numbers wherever a run resumes.
        torch.manual_seed((self.options.seed * 1_000_003 + self.step) * 1_009 + self.group.rank)
        try:
            for number, part in enumerate(parts):
                with self.group.together(self.module, number == len(parts) - 1), self._precision():
                    sums = self.module(tensors(part, self.target))
                self.group.backward(loss(sums, weights, examples))
                self.sums[:-1] += _numbers(sums)
        except Exception as error:
            if not self.device.compiled or not _of_compiling(error):
                raise
            reason = str(error).strip().splitlines()[0]
            raise Refusal(f"torch.compile failed ({reason}); --compile off trains without it") from error
        norm = clip(self.pretraining.parameters(), LONGEST_GRADIENT)
        with self._precision():
            self.optimizer.step(rate)
        self.optimizer.zero_grad()
        self.step, self.position = self.step + 1, position
        self.sums[-1] += 1
        self.seconds += time.monotonic() - start
        return rate, norm

    @property
    def micro(self) -> int:
        return self.device.micro_batch(self.options)

    def _precision(self) -> Any:
        if not self.device.bfloat16:
            return contextlib.nullcontext()
        return torch.autocast(self.target.type, dtype=torch.bfloat16)

    def _tell(self, rate: float, norm: Tensor) -> None:
        """A row of metrics where one is due, and the progress line."""
        row_due = self.step % self.options.steps_a_row == 0 or self.step in (1, self.options.steps)
        if row_due:
            *sums, steps = self.group.total(self.sums.tolist())
            self.sums.zero_()
        if not self.group.first:
            return
        if row_due:
            steps /= self.group.size
            found = means(sums)
            if not math.isfinite(found["masked_lm_loss"] + found["sentence_order_loss"]):
                raise Refusal(
                    f"the loss is no number any more at step {self.step:,}: the rate {rate:g} is too high for this "
                    "model and batch; begin anew with a lower --learning-rate and another --out"
                )
            row = {
                "of": TRAIN, "step": self.step, "loss": found["masked_lm_loss"] + found["sentence_order_loss"], **found,
                "learning_rate": rate, "gradient_norm": float(norm), "seconds": round(self.seconds, 3),
            }  # fmt: skip
            self.metrics.add(row)
            self.events.add(row)
            self.plot.draw(self.metrics.rows)
            self.said = f"loss {row['loss']:.3f}"
        speed = self.tokens * self.group.size / max(time.monotonic() - self.progress.start, 1e-9)
        self.progress.add(1, f"{self.said}, {speed:,.0f} tokens/s")

    @torch.no_grad()  # type: ignore[untyped-decorator]
    def _evaluate(self, stop: Stop) -> None:
        """A row of the held-out examples: each process takes its share of the batches."""
        self.module.eval()
        row: Row = {}
        for prefix, batches in self.recipe.evaluations().items():
            sums = torch.zeros(len(SUMS), dtype=torch.float64)
            for number, batch in enumerate(batches):
                if stop.signum is not None and self.group.size == 1 and self.step < self.options.steps:
                    return
                if number % self.group.size == self.group.rank:
                    with self._precision():
                        found = self.pretraining(tensors(batch, self.target))
                    sums += _numbers(found)
            total = self.group.total(sums.tolist())
            row |= {prefix + name: value for name, value in means(total).items()}
        self.module.train()
        # Windows have no sentence order; examples in full length have.
        for name in ("sentence_order_accuracy", "sentence_order_loss"):
            row[name] = row.pop(f"full_length_{name}", row[name])
        if self.group.first:
            row = {"of": HELD_OUT, "step": self.step, **row, "seconds": round(self.seconds, 3)}
            self.metrics.add(row)
            self.events.add(row)

    def _is_due(self) -> bool:
        """Whether this step is one that is evaluated."""
        return self.step % self.options.steps_to_save == 0 or self.step == self.options.steps

    def _lacks_evaluation(self) -> bool:
        """Whether the first process, which has the rows, finds none of this step."""
        return self.group.first and not any(row["step"] == self.step for row in self.metrics.held_out())

    def _save(self) -> None:
        """A checkpoint of this step, the best model, the metrics and the plot."""
        if self.group.first:
            # Before the checkpoint: a run that resumes leaves out rows behind it, but cannot make those before it.
            self.metrics.write()
            state = {
                "data": self.position, "seconds": self.seconds, "sums": self.sums.tolist(), "device": self.device.words,
            }  # fmt: skip
            if self.step not in checkpoints.saved(self.out):
                checkpoint = Checkpoint(self.step, self.pretraining.state(), self.optimizer.state(), state)
                checkpoints.save(self.out, checkpoint, self.config)
        self._keep_results()

    def _keep_results(self) -> None:
        if self.group.first:
            best = best_evaluation(self.metrics.held_out())
            if best:
                checkpoints.write_best(self.out, best, self.config)
            checkpoints.prune(self.out, self.options.keep)
            self.plot.draw(self.metrics.rows, now=self.step == self.options.steps)
        self.group.wait()

    def close(self) -> None:
        self.data.close()
        if self.batches is not None and self.group.first:
            self.metrics.close()
            self.progress.close(self.said)


def _of_compiling(error: Exception) -> bool:
    from torch._dynamo.exc import TorchDynamoException  # 1.6 s, which only who compiles must wait for

    return isinstance(error, TorchDynamoException)


def _numbers(sums: Sums) -> Tensor:
    """Sums as numbers that can be added up without loss, on this side."""
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
        # Events behind the checkpoint are of a run that was cut off, and not shown.
        self._writer = SummaryWriter(os.path.join(out, EVENTS), purge_step=step + 1)

    def add(self, row: Row) -> None:
        if self._writer:
            for name in sorted(set(row) - {"of", "step", "seconds"}):
                self._writer.add_scalar(f"{name}/{row['of']}", row[name], row["step"], new_style=True)
            self._writer.flush()


def output_files(out: str) -> list[str]:
    """What the manifest of a finished run lists: the best model, the last checkpoints, the metrics and the plot."""
    return [name for name in storage.files_below(out) if _is_output(name)]


def _is_output(name: str) -> bool:
    folder, _, _ = name.partition("/")
    return folder in (checkpoints.BEST, METRICS, *PICTURES) or folder.startswith("step-")
