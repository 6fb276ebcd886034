"""The largest differences between the outputs of a converted model and of a reference, for the same inputs.

The references are TensorFlow's program, the weights of a PyTorch checkpoint, and model.onnx.
"""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file
from transformers import AlbertConfig, AlbertForMaskedLM, AlbertForPreTraining

from stages.command.refusal import Refusal
from stages.convert.checkpoint import Checkpoint
from stages.convert.filling import SENTENCES
from stages.convert.onnx_model import INPUTS, NAME
from stages.convert.pytorch_checkpoint import MODEL, TIED
from stages.handover.storage import sha256
from stages.words.tokenization import BertJapaneseTinySegmenterTokenizer

# Two implementations with the same float32 weights usually differ by 1e-5, for logits of about 10.
TOLERANCE = 1e-4
# Measured in two tiny models: 0.014 from float32 to float16 weights, 0.2 to 0.3 from those to int8 embeddings.
COMPACT_TOLERANCE = 0.5


def reference_file(checkpoint: Checkpoint, config: str, option: str | None, scratch: str) -> str:
    """The file with TensorFlow's outputs for a checkpoint: that of --reference, or training's, or a new one."""
    for path in (option, checkpoint.prefix + ".reference.npz"):
        if path and os.path.exists(path):
            return path
        if option:
            raise Refusal(f"there is no file {option}")
    python = Path(__file__).resolve().parents[2] / ".venv" / "tpu-train" / "bin" / "python"
    arguments = ["--checkpoint", checkpoint.prefix, "--config", config, "--out"]
    if not python.exists():
        raise Refusal(
            f"--verify needs TensorFlow's outputs, and {checkpoint.prefix}.reference.npz is not there; make it with "
            f"python -m stages.tpu_train.reference {' '.join(arguments)} FILE (image albert-ja/tpu-train) "
            "and name it with --reference"
        )
    path = os.path.join(scratch, "reference.npz")
    process = subprocess.run(
        [python, "-m", "stages.tpu_train.reference", *arguments, path],
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    if process.returncode:
        raise Refusal(f"TensorFlow could not run the checkpoint: {process.stderr.strip().splitlines()[-1]}")
    return path


def tensorflow_differences(folder: str, checkpoint: Checkpoint, reference: str) -> dict[str, float]:
    """The largest absolute differences of the masked LM and sentence order logits between `folder` and TensorFlow.

    Raises Refusal if the reference belongs to another checkpoint.
    """
    with np.load(reference, allow_pickle=False) as arrays:
        digests = [str(digest) for digest in np.atleast_1d(arrays["checkpoint_sha256"])]
        if digests != [sha256(path) for path in checkpoint.data_files()]:
            raise Refusal(f"{reference} is of another checkpoint than {checkpoint.prefix}; make it again")
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


def pytorch_differences(folder: str, settings: dict[str, Any], checkpoint: str) -> dict[str, float]:
    """The same differences between `folder` and the PyTorch checkpoint in the folder `checkpoint`."""
    reference = AlbertForPreTraining(AlbertConfig(**settings)).eval()
    missing, unexpected = reference.load_state_dict(load_file(os.path.join(checkpoint, MODEL)), strict=False)
    assert set(missing) | set(unexpected) <= set(TIED), (missing, unexpected)
    model = AlbertForPreTraining.from_pretrained(folder).eval()
    largest = {"masked_lm_logits": 0.0, "sentence_order_logits": 0.0}
    for batch in _random_batches(settings):
        tensors = {name: torch.from_numpy(array) for name, array in batch.items()}
        with torch.inference_mode():
            expected, outputs = reference(**tensors), model(**tensors)
        for name, logits in (("masked_lm_logits", "prediction_logits"), ("sentence_order_logits", "sop_logits")):
            difference = float((expected[logits] - outputs[logits]).abs().max())
            largest[name] = max(largest[name], difference)
    return largest


def onnx_difference(folder: str, settings: dict[str, Any], tokenizer: BertJapaneseTinySegmenterTokenizer) -> float:
    """The largest absolute difference of logits between model.onnx, run by onnxruntime, and PyTorch; NaN if one is NaN.

    The inputs are SENTENCES, one by one and as a padded batch, and random ids (`_random_batches`).
    """
    # onnxruntime otherwise sends usage data, and writes an id of this machine for them.
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(os.path.join(folder, NAME), options, providers=["CPUExecutionProvider"])
    model = AlbertForMaskedLM.from_pretrained(folder).eval()
    cut = {"truncation": True, "return_tensors": "np"}
    texts = [tokenizer([text], **cut) for text in SENTENCES] + [tokenizer(list(SENTENCES), padding=True, **cut)]
    batches = [{name: np.asarray(encoded[name], np.int64) for name in INPUTS} for encoded in texts]
    largest = [0.0]
    for batch in [*batches, *_random_batches(settings)]:
        (logits,) = session.run(None, batch)
        with torch.inference_mode():
            expected = model(**{name: torch.from_numpy(array) for name, array in batch.items()}).logits.numpy()
        largest.append(float(np.abs(logits - expected).max()))
    return float(np.max(largest))


def _random_batches(settings: dict[str, Any]) -> Iterator[dict[str, NDArray[np.int64]]]:
    """Three batches: one token, three texts of which two are padded, one text with all positions."""
    draw = np.random.default_rng(12345)
    longest = settings["max_position_embeddings"]
    for lengths in ([1], [max(1, longest // 4), max(1, longest // 8), 1], [longest]):
        shape = (len(lengths), max(lengths))
        positions = np.arange(shape[1])[None, :]
        mask = (positions < np.array(lengths)[:, None]).astype(np.int64)
        second = min(1, settings["type_vocab_size"] - 1)
        yield {
            "input_ids": draw.integers(0, settings["vocab_size"], shape) * mask,
            "attention_mask": mask,
            "token_type_ids": mask * (positions > shape[1] // 2) * second,
        }
