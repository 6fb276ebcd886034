"""A configuration and a batch (npz) → the time of its training steps by PyTorch, and the loss before each.

`batch` writes the file first: examples of TFRecords, short and long. `steps` trains on it as `train` does: forward,
backward, clipping and LAMB, on all cores, from TensorFlow's variables; in float32, or in the default precision of
`train` on this processor.
"""

import os

# PyTorch reads how its threads wait when it is loaded; as `train` has it.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import contextlib
import glob
import json
import sys

import numpy as np
import torch

from scripts.bench.measured.stopwatch import Stopwatch
from stages.convert.mapping import rules
from stages.devices import computes_bfloat16
from stages.formats.batches import Batch, held_out
from stages.train.model import Pretraining, loss, new_model, tensors
from stages.train.optimizers import Lamb, clip


def batch(folder: str, sequence: str, predictions: str, examples: str, out: str) -> None:
    """Write `examples` of the folder's, evenly spread over their order by length: padded as all of them are."""
    files = sorted(glob.glob(os.path.join(folder, "*.tfrecord.gz")))
    read = held_out(files, int(sequence), int(predictions), 256, sys.maxsize)
    arrays = Batch(*map(np.concatenate, zip(*read, strict=True)))
    by_length = np.argsort(arrays.mask.sum(1), kind="stable")
    step = len(by_length) // int(examples)
    rows = by_length[step // 2 :: step][: int(examples)]
    chosen = {name: array[rows] for name, array in arrays._asdict().items()}
    np.savez(out, **chosen)
    print(json.dumps({"tokens": float(chosen["mask"].mean()), "of_all": float(arrays.mask.mean())}))


def steps(config: str, path: str, variables: str, count: str, precision: str) -> None:
    """Time all steps but the first, which makes room in memory. precision: `auto` or `float32`."""
    rounded = precision == "auto" and computes_bfloat16("cpu")
    with open(config) as stream:
        shape = json.load(stream)
    pretraining = Pretraining(new_model(shape, 1)).train()
    weights = np.load(variables)
    pretraining.load({
        rule.transformers: torch.from_numpy(weights[rule.tensorflow].T if rule.transposed else weights[rule.tensorflow])
        for rule in rules(shape)
    })  # fmt: skip
    arrays = np.load(path)
    batch = Batch(*(arrays[name] for name in Batch._fields))
    optimizer = Lamb(pretraining.model.named_parameters())
    device = torch.device("cpu")
    watch, losses = Stopwatch(), []
    for step in range(1 + int(count)):
        with watch if step else Stopwatch():
            with torch.autocast("cpu", torch.bfloat16) if rounded else contextlib.nullcontext():
                sums = pretraining(tensors(batch, device))
            value = loss(sums, float(batch.weights.sum()), len(batch.ids))
            value.backward()
            clip(pretraining.parameters(), 1.0)
            optimizer.step(1e-4)
            optimizer.zero_grad()
        losses.append(value.item())
    precision = "bfloat16" if rounded else "float32"
    watch.report(int(count) * batch.ids.size, losses=losses, precision=precision)


def main(action: str, *arguments: str) -> None:
    {"batch": batch, "steps": steps}[action](*arguments)
