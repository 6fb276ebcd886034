"""The outputs of a converted model: how far they are from references, and what it fills in at a mask.

The references are TensorFlow's program, the weights of a PyTorch checkpoint, and model.onnx.
"""

import contextlib
import os
import subprocess
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file
from transformers import AlbertConfig, AlbertForPreTraining

from stages.command.refusal import Refusal
from stages.convert.onnx_model import INPUTS, NAME
from stages.convert.sources import Source
from stages.handover import storage
from stages.words.tokenization import BertJapaneseTinySegmenterTokenizer

# Two implementations with the same float32 weights usually differ by 1e-5, for logits of about 10.
TOLERANCE = 1e-4
# Measured in two tiny models: 0.014 from float32 to float16 weights, 0.2 to 0.3 from those to int8 embeddings.
COMPACT_TOLERANCE = 0.5
HEADS = ("masked_lm_logits", "sentence_order_logits")
SENTENCES = (
    "日本の首都は[MASK]である。",
    "この川は[MASK]に流れ込む。",
    "[MASK]は、江戸時代の文化を代表する。",
    "水は100度で[MASK]する。",
)
FILLED = 5
# Training writes it beside its best checkpoint.
REFERENCE = ".reference.npz"
Batch = dict[str, NDArray[np.int64]]
Logits = tuple[NDArray[np.float32], ...]


def checkpoint_differences(model: AlbertForPreTraining, source: Source, reference: str | None) -> dict[str, float]:
    """The largest absolute differences of each head's logits from those of the checkpoint's own program.

    `reference`: --reference. Raises Refusal if it belongs to another checkpoint.
    """
    pairs = list(_tensorflow(model, source, reference) if source.program == "TensorFlow" else _pytorch(model, source))
    return {name: _largest((expected[n], found[n]) for expected, found in pairs) for n, name in enumerate(HEADS)}


def onnx_difference(
    model: AlbertForPreTraining, folder: str, settings: dict[str, Any], tokenizer: BertJapaneseTinySegmenterTokenizer
) -> float:
    """The largest absolute difference of logits between model.onnx, run by onnxruntime, and PyTorch.

    The inputs are SENTENCES, one by one and as a padded batch, and random ids (`_random_batches`).
    """
    # onnxruntime otherwise sends usage data, and writes an id of this machine for them.
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(os.path.join(folder, NAME), options, providers=["CPUExecutionProvider"])
    texts = [*([text] for text in SENTENCES), list(SENTENCES)]
    encoded = [tokenizer(text, padding=True, truncation=True, return_tensors="np") for text in texts]
    batches = [{name: np.asarray(arrays[name], np.int64) for name in INPUTS} for arrays in encoded]
    batches += _random_batches(settings)
    return _largest((session.run(None, batch)[0], _logits(model, batch)[0]) for batch in batches)


def fill_masks(model: AlbertForPreTraining, tokenizer: BertJapaneseTinySegmenterTokenizer) -> list[dict[str, Any]]:
    """The FILLED most probable entries at the mask of each sentence: `[{"text", "words": [[word, probability]]}]`.

    Special entries ([UNK] and the like) are left out.
    """
    lines = []
    for text in SENTENCES:
        ids = torch.tensor([tokenizer(text)["input_ids"]])
        with torch.inference_mode():
            logits = model(ids).prediction_logits[0, ids[0] == tokenizer.mask_token_id][0]
        probabilities = logits.softmax(-1)
        probabilities[tokenizer.all_special_ids] = 0
        best = probabilities.topk(FILLED)
        words = tokenizer.convert_ids_to_tokens(best.indices.tolist())
        pairs = zip(words, best.values.tolist(), strict=True)
        lines.append({"text": text, "words": [[word, round(probability, 4)] for word, probability in pairs]})
    return lines


def _tensorflow(model: AlbertForPreTraining, source: Source, reference: str | None) -> Iterator[tuple[Logits, Logits]]:
    """The logits in TensorFlow's reference, and those of the model."""
    with _reference_file(source, reference) as path, np.load(path, allow_pickle=False) as arrays:
        if [str(digest) for digest in np.atleast_1d(arrays["checkpoint_sha256"])] != source.digests:
            raise Refusal(
                f"{reference or source.place + REFERENCE} is of another checkpoint than {source.place}; make it again"
            )
        names = zip(INPUTS, ("input_ids", "input_mask", "segment_ids"), strict=True)
        masked_lm, order = _logits(model, {ours: arrays[theirs].astype(np.int64) for ours, theirs in names})
        positions = arrays["masked_lm_positions"]
        found = masked_lm[np.arange(len(positions))[:, None], positions], order
        yield tuple(arrays[name] for name in HEADS), found


@contextlib.contextmanager
def _reference_file(source: Source, reference: str | None) -> Iterator[str]:
    """The file with TensorFlow's logits of a checkpoint: that of --reference, or training's, or a new one."""
    if reference and not storage.exists(reference):
        raise Refusal(f"there is no file {reference}")
    path = reference or source.place + REFERENCE
    if storage.exists(path):
        with storage.fetched(path) as local:
            yield local
        return
    python = Path(__file__).resolve().parents[2] / ".venv" / "tpu-train" / "bin" / "python"
    words = ["-m", "stages.tpu_train.reference", "--config", source.config_file, "--checkpoint"]
    if not python.exists():
        raise Refusal(
            f"--verify needs TensorFlow's outputs, and {source.place}{REFERENCE} is not there; make it with python "
            f"{' '.join(words)} {source.place} --out FILE (image albert-ja/tpu-train) and name it with --reference"
        )
    with tempfile.TemporaryDirectory() as scratch:
        prefix, path = source.place, os.path.join(scratch, "reference.npz")
        if storage.remote(prefix):
            folder, name = os.path.split(prefix)
            parts = [each for each in storage.names(folder) if each.startswith((name + ".index", name + ".data"))]
            storage.fetch_all(folder, parts, scratch)
            prefix = os.path.join(scratch, name)
        command = [str(python), *words, prefix, "--out", path]
        process = subprocess.run(command, capture_output=True, encoding="utf-8", check=False)
        if process.returncode:
            raise Refusal(f"TensorFlow could not run the checkpoint: {process.stderr.strip().splitlines()[-1]}")
        yield path


def _pytorch(model: AlbertForPreTraining, source: Source) -> Iterator[tuple[Logits, Logits]]:
    """The logits of the checkpoint's own weights, and those of the model."""
    checkpoint = AlbertForPreTraining(AlbertConfig(**source.settings)).eval()
    with storage.fetched(source.place) as path:
        # Tied weights may lack their second names.
        checkpoint.load_state_dict(load_file(path), strict=False)
    for batch in _random_batches(source.settings):
        yield _logits(checkpoint, batch), _logits(model, batch)


def _logits(model: AlbertForPreTraining, batch: Batch) -> Logits:
    """The logits of HEADS: (batch, sequence, vocabulary) and (batch, 2)."""
    with torch.inference_mode():
        outputs = model(**{name: torch.from_numpy(array) for name, array in batch.items()})
    return outputs.prediction_logits.numpy(), outputs.sop_logits.numpy()


def _largest(pairs: Iterable[tuple[NDArray[np.float32], NDArray[np.float32]]]) -> float:
    """The largest absolute difference; NaN if one is NaN."""
    return float(np.max([np.abs(ours - theirs).max() for ours, theirs in pairs]))


def _random_batches(settings: dict[str, Any]) -> Iterator[Batch]:
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
