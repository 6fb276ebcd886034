"""A configuration, a batch, TensorFlow's weights → what `train` makes of them: OUT.npz, under TensorFlow's names.

Run by .venv/train: pytorch_steps.py CONFIG.json BATCH.npz TENSORFLOW.npz OUT.npz PEAK STEPS WARMUP STEP….
"""

import json
import sys

import numpy as np
import torch

from stages.convert.mapping import model_config, rules
from stages.train.lamb import Lamb, clip
from stages.train.model import Pretraining, loss, new_model, tensors
from stages.train.records import Batch
from stages.train.schedule import learning_rate

config_path, batch_path, given_path, out = sys.argv[1:5]
peak, (steps, warmup, *numbers) = float(sys.argv[5]), map(int, sys.argv[6:])
with open(config_path) as stream:
    config = json.load(stream)
batch = Batch(**np.load(batch_path))
given = np.load(given_path)
known = rules(model_config(config))
pretraining = Pretraining(new_model(config, 7))
found = {"drawn/" + name: tensor.numpy().copy() for name, tensor in pretraining.state().items()}


def take(prefix: str) -> dict[str, torch.Tensor]:
    arrays = {rule.transformers: given[f"{prefix}/{rule.tensorflow}"] for rule in known}
    return {r.transformers: torch.from_numpy(arrays[r.transformers].T if r.transposed else arrays[r.transformers])
            for r in known}  # fmt: skip


def put(prefix: str, state: dict[str, torch.Tensor]) -> None:
    for rule in known:
        array = state[rule.transformers].numpy()
        found[f"{prefix}/{rule.tensorflow}"] = (array.T if rule.transposed else array).copy()


def backward(parts: list[Batch]) -> tuple[float, float]:
    """Gradients of the whole batch from its parts; the two losses."""
    totals = np.zeros(2)
    weights, examples = float(batch.weights.sum()), float(len(batch.ids))
    for part in parts:
        sums = pretraining(tensors(part, torch.device("cpu")))
        loss(sums, weights, examples).backward()
        totals += sums.masked_lm.item() / (weights + 1e-5), sums.order.item() / examples
    return tuple(totals)


pretraining.load(take("before"))
optimizer = Lamb(pretraining.model.named_parameters())
for prefix, parts in (("gradient", [batch]), ("parts", [batch.rows(slice(at, at + 2)) for at in range(0, 6, 2)])):
    optimizer.zero_grad()
    found["masked_lm_loss"], found["order_loss"] = backward(parts)
    put(prefix, {name: p.grad.clone() for name, p in zip(optimizer.names, optimizer.parameters, strict=True)})
found["losses"] = np.zeros(len(numbers))
for place, number in enumerate(numbers):
    optimizer.zero_grad()
    found["losses"][place] = sum(backward([batch]))
    norm = clip(pretraining.parameters(), 1.0)
    if place == 0:
        found["norm"] = norm.numpy()
    optimizer.step(learning_rate(number, peak, steps, warmup))
    put(f"after{place}", pretraining.state())
np.savez(out, **found)
