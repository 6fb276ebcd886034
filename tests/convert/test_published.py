"""What is published: model.onnx gives PyTorch's logits, the card is what the Hub takes, nothing holds a pickle."""

import json
import os
import struct
import subprocess
from pathlib import Path
from typing import Any

from tests.convert.conftest import arguments

ROOT = Path(__file__).resolve().parents[2]
PYTHON = ROOT / ".venv/convert/bin/python"


def test_onnxruntime_gives_the_logits_of_pytorch_without_it(model: Path) -> None:
    """Of texts as the folder's own tokenizer gives them, of several lengths, with padding and without."""
    program = """
import json, sys
import numpy as np, onnx, onnxruntime, torch
from huggingface_hub import ModelCard
from transformers import AlbertForMaskedLM, AutoTokenizer
folder = sys.argv[1]
tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=True)
model = AlbertForMaskedLM.from_pretrained(folder).eval()
session = onnxruntime.InferenceSession(folder + "/model.onnx")
largest, scale = 0.0, 0.0
for texts in (["[MASK]"], ["日本の首都は[MASK]である。"], ["江戸時代の文化", "水", "この川は[MASK]に流れ込む。" * 3]):
    batch = tokenizer(texts, padding=True, truncation=True, return_tensors="np")
    (found,) = session.run(["logits"], {name: np.asarray(value, np.int64) for name, value in batch.items()})
    with torch.inference_mode():
        expected = model(**{name: torch.tensor(value) for name, value in batch.items()}).logits.numpy()
    assert found.shape == expected.shape
    largest, scale = max(largest, float(abs(found - expected).max())), float(abs(expected).max())
graph = onnx.load(folder + "/model.onnx").graph
card = ModelCard.load(folder + "/README.md")
print(json.dumps({
    "largest": largest, "scale": scale, "inputs": [each.name for each in graph.input],
    "stored": sum(onnx.numpy_helper.to_array(each).nbytes for each in graph.initializer),
    "parameters": sum(parameter.numel() for parameter in model.parameters()), "torch": "torch" in sys.modules,
    "card": card.data.to_dict(),
}))
"""
    done = subprocess.run(
        [PYTHON, "-c", program, model], capture_output=True, encoding="utf-8", cwd="/",
        env={**os.environ, "HF_HUB_OFFLINE": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["largest"] < 1e-4 < report["scale"]
    assert report["inputs"] == ["input_ids", "attention_mask", "token_type_ids"]
    # Three layers share one group: stored once, the table of words as well. The rest are a few numbers of the graph.
    assert 0 <= report["stored"] - 4 * report["parameters"] < 200
    assert (model / "model.onnx").stat().st_size < report["stored"] + 20_000
    card = report["card"]
    assert card["pipeline_tag"] == "fill-mask"
    assert card["language"] == "ja"
    assert "license" not in card


def test_an_onnx_file_that_gives_other_logits_is_refused(checkpoints: Path, tmp_path: Path) -> None:
    """The other gelu differs by less than 0.001 for every value: the check sees it in the logits."""
    program = """
import sys
from stages.convert import onnx_model
onnx_model.ACTIVATIONS["gelu_new"] = ("Gelu", {"approximate": "none"})
from stages.convert.__main__ import main
from stages.command.running import run
sys.exit(run("convert", main))
"""
    _, *rest = arguments(checkpoints, "plain", tmp_path / "m")
    done = subprocess.run([PYTHON, "-c", program, *rest], capture_output=True, encoding="utf-8", cwd=ROOT)
    assert done.returncode == 2, done.stderr
    assert "the logits of model.onnx differ from PyTorch's by" in done.stderr
    assert not (tmp_path / "m/model.onnx").exists()


def test_no_file_can_run_code_but_the_tokenizers_own(model: Path) -> None:
    assert {path.suffix for path in model.iterdir()} == {".md", ".json", ".safetensors", ".onnx", ".txt", ".py"}
    data = (model / "model.safetensors").read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    header: dict[str, Any] = json.loads(data[8 : 8 + length])
    ends = [described["data_offsets"][1] for name, described in header.items() if name != "__metadata__"]
    assert max(ends) == len(data) - 8 - length, "tensors to the last byte, and nothing behind them"
    for path in model.iterdir():
        # How a pickle of protocol 2 and later begins, and a zip archive, which torch.save writes.
        assert not path.read_bytes().startswith((b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05", b"PK"))
