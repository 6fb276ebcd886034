"""TFRecords, a folder of a run of `train` → held-out metrics of its checkpoints, as the efficient recipe measures them.

JSON by step, for runs of either recipe: at length 128, and with `full_length_` in full length.
"""

import json

import torch

from stages.formats.shards import find_shards
from stages.formats.windows import LENGTH, held_out_evaluation
from stages.handover.manifests import read_json
from stages.handover.storage import join
from stages.train import checkpoints
from stages.train.model import Pretraining, Sums, means, new_model, tensors


def main(tfrecords: str, run: str) -> None:
    shards = find_shards(tfrecords, None)
    metrics: dict[int, dict[str, float]] = {}
    for step in checkpoints.saved(run):
        folder = join(run, checkpoints.folder_of(step))
        config = read_json(join(folder, checkpoints.CONFIG))
        pretraining = Pretraining(new_model(config, 1)).eval()
        pretraining.load(checkpoints.load(run, step).model)
        row = metrics[step] = {}
        for prefix, length in (("", min(LENGTH, shards.seq_length)), ("full_length_", None)):
            sums = torch.zeros(len(Sums._fields), dtype=torch.float64)
            with torch.inference_mode():
                for batch in held_out_evaluation(shards, config["vocab_size"], length):
                    outputs = pretraining(tensors(batch, torch.device("cpu")))
                    sums += torch.stack([value.double() for value in outputs])
            row |= {prefix + name: value for name, value in means(sums.tolist()).items()}
    print(json.dumps(metrics))
