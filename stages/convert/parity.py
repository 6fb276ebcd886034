"""A converted model and TensorFlow's own outputs for the same inputs → the largest difference between the two."""

import os
import subprocess
from pathlib import Path

import numpy as np
import torch
from transformers import AlbertForPreTraining

from stages.convert.checkpoint import Checkpoint
from stages.handover import Refusal, sha256

# Same weights in single precision, two implementations: 1e-5 is usual for logits of about 10.
TOLERANCE = 1e-4


def find_reference(checkpoint: Checkpoint, config: str, given: str | None, scratch: str) -> str:
    """The file with TensorFlow's outputs for a checkpoint: the one given, the one training left, or one made now."""
    for path in (given, checkpoint.prefix + ".reference.npz"):
        if path and os.path.exists(path):
            return path
        if given:
            raise Refusal(f"there is no file {given}")
    python = Path(__file__).resolve().parents[2] / ".venv" / "tpu-train" / "bin" / "python"
    arguments = ["--checkpoint", checkpoint.prefix, "--config", config, "--out"]
    if not python.exists():
        raise Refusal(
            f"--verify needs TensorFlow's outputs, and {checkpoint.prefix}.reference.npz is not there; make it with "
            f"python -m stages.tpu_train.reference {' '.join(arguments)} FILE (image albert-ja/tpu-train) "
            "and name it with --reference"
        )
    made = os.path.join(scratch, "reference.npz")
    done = subprocess.run(
        [python, "-m", "stages.tpu_train.reference", *arguments, made],
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    if done.returncode:
        raise Refusal(f"TensorFlow could not run the checkpoint: {done.stderr.strip().splitlines()[-1]}")
    return made


def largest_differences(folder: str, checkpoint: Checkpoint, reference: str) -> dict[str, float]:
    """The largest absolute difference of masked LM and of sentence order logits, as the model in `folder` gives them.

    Raises Refusal for a reference of another checkpoint.
    """
    with np.load(reference, allow_pickle=False) as arrays:
        of = [str(digest) for digest in np.atleast_1d(arrays["checkpoint_sha256"])]
        if of != [sha256(path) for path in checkpoint.data_files()]:
            raise Refusal(f"{reference} is of another checkpoint than {checkpoint.prefix}; make it anew")
        inputs = {
            "input_ids": torch.from_numpy(arrays["input_ids"].astype(np.int64)),
            "attention_mask": torch.from_numpy(arrays["input_mask"].astype(np.int64)),
            "token_type_ids": torch.from_numpy(arrays["segment_ids"].astype(np.int64)),
        }
        positions = torch.from_numpy(arrays["masked_lm_positions"].astype(np.int64))
        expected_masked_lm, expected_order = arrays["masked_lm_logits"], arrays["sentence_order_logits"]
    model = AlbertForPreTraining.from_pretrained(folder).eval()
    with torch.inference_mode():
        outputs = model(**inputs)
    rows = torch.arange(len(positions))[:, None]
    return {
        "masked_lm_logits": float(
            np.abs(outputs.prediction_logits[rows, positions].numpy() - expected_masked_lm).max()
        ),
        "sentence_order_logits": float(np.abs(outputs.sop_logits.numpy() - expected_order).max()),
    }
