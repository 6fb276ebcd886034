"""The same cases, and TensorFlow's variables before the first step → what `stages.train` computes, by the same names.

`python torch_steps.py FOLDER`, after tensorflow_steps.py, writes FOLDER/NAME.torch.npz, and more of a case that no
TensorFlow is needed for: gradients of a batch in parts, of transformers' own forward, losses under bfloat16, and the
initial values of two seeds. FOLDER/schedule.torch.npz: learning rates of each schedule of cases.json.
"""

import json
import os
import sys
from collections.abc import Callable, Iterable
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from stages.convert.mapping import rules
from stages.formats.batches import Batch
from stages.train.model import EPSILON, Pretraining, Sums, loss, new_model, tensors
from stages.train.optimizers import NO_DECAY, Lamb, clip
from stages.train.recipes import Published

CPU = torch.device("cpu")
Arrays = dict[str, Any]


class Case:
    """A model with TensorFlow's variables, its batches, and how its tensors are called in TensorFlow."""

    def __init__(self, folder: str, name: str, case: dict[str, Any]) -> None:
        self.case, self.rules = case, rules(case["config"])
        loaded = np.load(os.path.join(folder, name + ".batches.npz"))
        self.batches = [Batch(*(loaded[f"{step}/{field}"] for field in Batch._fields)) for step in range(case["taken"])]
        before = np.load(os.path.join(folder, name + ".tensorflow.npz"))
        self.rates = [float(before[f"{step}/rate"]) for step in range(case["taken"])]
        self.before = {
            rule.transformers: torch.tensor(self._turned(rule, before["before/" + rule.tensorflow]))
            for rule in self.rules
        }
        self.pretraining = self.new()

    def new(self) -> Pretraining:
        """The model before the first step."""
        pretraining = Pretraining(new_model(self.case["config"], 1))
        pretraining.load(self.before)
        pretraining.train()
        return pretraining

    def named(self, kind: str, given: dict[str, Tensor], slot: str = "") -> Arrays:
        """Tensors by transformers' names → arrays by TensorFlow's, in its layout."""
        return {
            f"{kind}/{rule.tensorflow}{slot}": self._turned(rule, given[rule.transformers].numpy().copy())
            for rule in self.rules
        }

    def gradients(self, kind: str, pretraining: Pretraining, losses: list[Tensor]) -> Arrays:
        """The gradients of the sum of the losses."""
        for one in losses:
            one.backward()
        return self.named(kind, {name: found.grad for name, found in pretraining.model.named_parameters()})

    @staticmethod
    def _turned(rule: Any, array: Any) -> Any:
        return array.T if rule.transposed else array


def numbers(batch: Batch) -> tuple[float, float]:
    """The denominators of a batch's loss."""
    return float(batch.weights.sum()), float(len(batch.ids))


def steps(case: Case) -> Arrays:
    """What tensorflow_steps.py finds."""
    pretraining = case.pretraining
    optimizer = Lamb(pretraining.model.named_parameters())
    found: Arrays = {"adapted": np.array(sorted(
        rule.tensorflow for rule in case.rules if not NO_DECAY.search(rule.transformers)
    ))}  # fmt: skip
    for step, batch in enumerate(case.batches):
        weights, examples = numbers(batch)
        sums = pretraining(tensors(batch, CPU))
        found[f"{step}/losses"] = np.array([sums.masked_lm.item() / (weights + EPSILON), sums.order.item() / examples])
        gradients = case.gradients("gradient", pretraining, [loss(sums, weights, examples)])
        if step == 0:
            found.update(gradients)
        found[f"{step}/norm"] = clip(pretraining.parameters(), 1.0).numpy()
        # The rate that TensorFlow took: see test_parity.py.
        optimizer.step(case.rates[step])
        optimizer.zero_grad()
        found.update(case.named(f"{step}/after", pretraining.state()))
        state = optimizer.state
        for slot, kind in (("/adam_m", "first"), ("/adam_v", "second")):
            moments = {name: state[f"{kind}.{name}"] for name in optimizer.named}
            found.update(case.named(f"{step}/after", moments, slot))
    return found


def rates(peak: float, last: int, warmup: int, wanted: Iterable[int]) -> Any:
    """The learning rates of the steps, in the published recipe."""
    recipe: Any = object.__new__(Published)
    recipe.options = SimpleNamespace(rate=peak, steps=last, warmup_steps=warmup)
    return np.array([recipe.rate(step) for step in wanted])


def plain_loss(pretraining: Pretraining, batch: Batch) -> Tensor:
    """The loss by transformers' own forward, all positions and padding included."""
    given = {name: tensor.long() for name, tensor in tensors(batch, CPU).items()}
    found = pretraining.model(given["ids"], attention_mask=given["mask"], token_type_ids=given["segments"])
    rows = torch.arange(len(batch.ids))[:, None]
    logits = found.prediction_logits[rows, given["positions"]].flatten(0, 1)
    losses = functional.cross_entropy(logits, given["labels"].flatten(), reduction="none")
    weights = torch.from_numpy(batch.weights).flatten()
    return (losses * weights).sum() / (weights.sum() + EPSILON) + functional.cross_entropy(
        found.sop_logits, given["swapped"]
    )


def more(case: Case) -> Arrays:
    """Other ways to the gradients of the first batch, and its sums."""
    batch = case.batches[0]
    weights, examples = numbers(batch)

    def whole(pretraining: Pretraining) -> list[Tensor]:
        return [loss(pretraining(tensors(batch, CPU)), weights, examples)]

    def in_parts(pretraining: Pretraining) -> list[Tensor]:
        fields = tensors(batch, CPU)
        parts = [
            {name: field[cut] for name, field in fields.items()} for cut in (slice(3), slice(3, 4), slice(4, None))
        ]
        return [loss(pretraining(part), weights, examples) for part in parts]

    def plain(pretraining: Pretraining) -> list[Tensor]:
        return [plain_loss(pretraining, batch)]

    def in_bfloat16(pretraining: Pretraining) -> list[Tensor]:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return [loss(pretraining(tensors(batch, CPU)), weights, examples)]

    ways: dict[str, Callable[[Pretraining], list[Tensor]]] = {
        "whole": whole, "parts": in_parts, "plain": plain, "bfloat16": in_bfloat16
    }  # fmt: skip
    found: Arrays = {}
    for kind, way in ways.items():
        pretraining = case.new()
        found.update(case.gradients(kind, pretraining, way(pretraining)))
    with torch.no_grad():
        exact: Sums = case.new()(tensors(batch, CPU))
        with torch.autocast("cpu", dtype=torch.bfloat16):
            rough: Sums = case.new()(tensors(batch, CPU))
    found["sums"], found["rough"] = (np.array([float(one) for one in sums]) for sums in (exact, rough))
    found["types"] = np.array([str(rough.masked_lm.dtype), str(rough.order.dtype)])
    for name, seed in (("one", 1), ("same", 1), ("other", 2)):
        torch.manual_seed(hash(name) % 1000)  # What was drawn before has no part in it.
        found.update(case.named(f"initial-{name}", Pretraining(new_model(case.case["config"], seed)).state()))
    return found


def main(folder: str) -> None:
    with open(os.path.join(folder, "cases.json")) as stream:
        cases = json.load(stream)
    for name, given in cases["steps"].items():
        case = Case(folder, name, given)
        found = steps(case)
        found["rates"] = rates(given["rate"], given["steps"], given["warmup"], range(given["taken"] + 1))
        if given["more"]:
            found.update(more(case))
        np.savez(os.path.join(folder, name + ".torch.npz"), **found)
    schedules = {str(number): rates(**given) for number, given in enumerate(cases["schedules"])}
    np.savez(os.path.join(folder, "schedule.torch.npz"), **schedules)


if __name__ == "__main__":
    main(sys.argv[1])
