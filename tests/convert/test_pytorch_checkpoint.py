"""Checkpoints of train: the same folder as from TensorFlow, each weight checked, and what the card tells of the run."""

import hashlib
import json
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stages.convert.provenance import provenance

METRICS = {"masked_lm_accuracy": 0.25, "masked_lm_loss": 3.5, "sentence_order_accuracy": 0.75,
           "sentence_order_loss": 0.5}  # fmt: skip
Header = dict[str, Any]


def read_safetensors(path: Path) -> tuple[Header, bytes]:
    data = path.read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    return json.loads(data[8 : 8 + length]), data[8 + length :]


def write_safetensors(path: Path, header: Header, data: bytes) -> None:
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)


@pytest.fixture
def trained(model: Path, checkpoints: Path, tmp_path: Path) -> Path:
    """A run's folder with its best checkpoint, whose weights transformers wrote: those of `plain`."""
    best = tmp_path / "run" / "best"
    best.mkdir(parents=True)
    shutil.copy(model / "model.safetensors", best)
    config = json.loads((checkpoints / "plain.json").read_text())
    (best / "albert_config.json").write_text(json.dumps(config))
    digest = hashlib.sha256((best / "model.safetensors").read_bytes()).hexdigest()
    (best / "state.json").write_text(json.dumps({"step": 4321, **METRICS, "sha256": digest}))
    files = {"pretrain_00000.tfrecord.gz": "ab", "pretrain_00001.tfrecord.gz": "cd"}
    run = {
        "stage": "train", "version": "0.1.0",
        "inputs": {"config": config, "tfrecords": {"files": files, "held_out": ["pretrain_00001.tfrecord.gz"]}},
        "options": {"steps": 5000, "batch": 512, "learning_rate": 0.00022, "warmup": 125, "seed": 7},
    }  # fmt: skip
    (best.parent / "run.json").write_text(json.dumps(run))
    return best.parent


def made_of(trained: Path, checkpoints: Path, folder: Path, digests: tuple[str, str] = ("ab", "cd")) -> list[Any]:
    """Manifests of a corpus and of TFRecords made from it, in the form in which their stages write them."""
    for name in ("corpus", "tfrecords"):
        (folder / name).mkdir(exist_ok=True)
    corpus = {
        "stage": "corpus", "options": {}, "files": {},
        "inputs": {"files": [{"name": "jawiki-20230102-cirrussearch-content.json.gz", "kind": "cirrussearch"}]},
        "counts": {"articles_kept": 1234567, "sentences_kept": 7654321, "characters_kept": 99999999},
    }  # fmt: skip
    (folder / "corpus/manifest.json").write_text(json.dumps(corpus))
    vocabulary = hashlib.sha256((checkpoints / "vocab.txt").read_bytes()).hexdigest()
    names = ("pretrain_00000.tfrecord.gz", "pretrain_00001.tfrecord.gz")
    records = {
        "stage": "tfrecords", "vocabulary": {"sha256": vocabulary, "size": 60}, "counts": {"examples": 8888888},
        "files": {name: {"bytes": 1, "sha256": digest} for name, digest in zip(names, digests, strict=True)},
        "inputs": {"corpus": hashlib.sha256((folder / "corpus/manifest.json").read_bytes()).hexdigest()},
        "options": {"seq_length": 32, "masked_lm_prob": 0.15, "max_predictions": 5, "ngram": 3, "dupe_factor": 40},
    }  # fmt: skip
    (folder / "tfrecords/manifest.json").write_text(json.dumps(records))
    return ["--tfrecords", folder / "tfrecords", "--corpus", folder / "corpus"]


def test_the_folder_is_that_of_the_same_weights_from_tensorflow(
    trained: Path, model: Path, checkpoints: Path, run_stage: Any, tmp_path: Path
) -> None:
    out = tmp_path / "m"
    command = ["convert", "--checkpoint", trained, "--vocab", checkpoints / "vocab.txt", "--out", out, "--verify"]
    command += made_of(trained, checkpoints, tmp_path)
    done = run_stage(*command)
    assert "largest difference from PyTorch: masked lm logits" in done.stderr
    assert sorted(path.name for path in out.iterdir()) == sorted(path.name for path in model.iterdir())
    for path in out.iterdir():
        same = path.name not in ("README.md", "manifest.json")
        assert (path.read_bytes() == (model / path.name).read_bytes()) == same, path.name
    manifest = json.loads((out / "manifest.json").read_text())
    assert (manifest["step"], manifest["metrics"]) == (4321, METRICS)
    assert max(manifest["parity"].values()) < 1e-5
    assert (manifest["onnx"]["opset"], manifest["onnx"]["ir"]) == (20, 9)
    card = (out / "README.md").read_text(encoding="utf-8")
    for said in (
        "license: cc-by-sa-4.0", "PyTorch checkpoint", "after 4,321 training steps", "2023-01-02", "1,234,567 articles",
        "7,654,321 sentences", "8,888,888 of 32 tokens", "40 copies", "5,000 steps of 512 examples", "rate 0.00022",
        "| masked LM accuracy | 0.2500 |", "value: 0.25", "under CC BY-SA",
    ):  # fmt: skip
        assert said in card
    assert "finished already" in run_stage(*command).stderr
    assert "options.license" in run_stage(*command, "--license", "mit", code=2).stderr


def test_a_compact_folder_has_half_the_size_and_the_same_fills(
    trained: Path, model: Path, checkpoints: Path, run_stage: Any, tmp_path: Path
) -> None:
    out = tmp_path / "m"
    command = ["convert", "--checkpoint", trained, "--vocab", checkpoints / "vocab.txt", "--out", out, "--verify"]
    run_stage(*command, "--compact")
    header, data = read_safetensors(out / "model.safetensors")
    assert {entry["dtype"] for name, entry in header.items() if name != "__metadata__"} == {"F16"}
    assert len(data) * 2 == len(read_safetensors(model / "model.safetensors")[1])
    # The graph itself is most of this small file.
    assert (out / "model.onnx").stat().st_size < 0.85 * (model / "model.onnx").stat().st_size
    assert json.loads((out / "config.json").read_text())["dtype"] == "float32"
    manifest = json.loads((out / "manifest.json").read_text())
    assert 0 < max(manifest["parity"].values()) < 0.01
    assert 0 < manifest["onnx"]["difference"] < 0.05
    of_all = json.loads((model / "manifest.json").read_text())["filled_masks"]
    for found, expected in zip(manifest["filled_masks"], of_all, strict=True):
        assert [p for _, p in found["words"]] == pytest.approx([p for _, p in expected["words"]], abs=0.01)
    assert "kept as float16" in (out / "README.md").read_text(encoding="utf-8")
    assert "options.compact" in run_stage(*command, code=2).stderr


def test_manifests_of_another_run_are_left_out(
    trained: Path, checkpoints: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = json.loads((checkpoints / "plain.json").read_text())
    vocabulary = hashlib.sha256((checkpoints / "vocab.txt").read_bytes()).hexdigest()

    def known(vocabulary: str = vocabulary, **changed: Any) -> dict[str, Any]:
        folders = str(tmp_path / "tfrecords"), str(tmp_path / "corpus")
        return provenance(str(trained / "best"), {**config, **changed}, vocabulary, *folders)

    made_of(trained, checkpoints, tmp_path)
    assert set(known()) == {"training", "tfrecords", "corpus"}
    assert known()["training"]["held_out"] == {"pretrain_00001.tfrecord.gz": "cd"}
    assert capsys.readouterr().err == ""
    assert set(known(hidden_size=48)) == {"tfrecords", "corpus"}, "a run of another configuration is not this one"
    assert set(known("00")) == {"training"}
    assert "tfrecords: it was made with another vocabulary" in capsys.readouterr().err
    made_of(trained, checkpoints, tmp_path, ("ab", "ef"))
    assert set(known()) == {"training"}
    said = capsys.readouterr().err
    assert "tfrecords: it is not what the model was trained on" in said
    assert "corpus: it is not known to be the corpus of the model" in said
    made_of(trained, checkpoints, tmp_path)
    (tmp_path / "corpus/manifest.json").write_text((tmp_path / "corpus/manifest.json").read_text() + "\n")
    assert set(known()) == {"training", "tfrecords"}
    (tmp_path / "tfrecords/manifest.json").unlink()
    assert set(known()) == {"training"}
    assert "run make tfrecords" in capsys.readouterr().err


def renamed(header: Header, old: str, new: str) -> None:
    header[new] = header.pop(old)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda h: renamed(h, "albert.pooler.bias", "pooler.bias"), "has no weight albert.pooler.bias"),
        (lambda h: h["albert.pooler.weight"].update(shape=[12, 48]), "is 12 × 48, but 24 × 24 in the configuration"),
        (lambda h: h["albert.pooler.weight"].update(dtype="I32"), "holds I32, not F32"),
        (lambda h: renamed(h, "__metadata__", "__other__"), "is damaged, or no safetensors file"),
    ],
)
def test_a_weight_that_does_not_fit_is_named(
    trained: Path, checkpoints: Path, run_stage: Any, tmp_path: Path, change: Callable[[Header], None], said: str
) -> None:
    path = trained / "best/model.safetensors"
    header, data = read_safetensors(path)
    change(header)
    write_safetensors(path, header, data)
    assert said in refusal(trained, checkpoints, run_stage, tmp_path)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_weights_that_have_diverged_are_refused(
    trained: Path, checkpoints: Path, run_stage: Any, tmp_path: Path, value: float
) -> None:
    path = trained / "best/model.safetensors"
    header, data = read_safetensors(path)
    at = header["predictions.bias"]["data_offsets"][1] - 4
    write_safetensors(path, header, data[:at] + struct.pack("<f", value) + data[at + 4 :])
    said = refusal(trained, checkpoints, run_stage, tmp_path)
    assert "weight predictions.bias" in said
    assert "holds NaN or infinity" in said


def test_a_tied_weight_may_be_there_twice_but_not_differ(
    trained: Path, checkpoints: Path, run_stage: Any, tmp_path: Path
) -> None:
    path = trained / "best/model.safetensors"
    header, data = read_safetensors(path)
    begin, end = header["predictions.bias"]["data_offsets"]
    twice = {"dtype": "F32", "shape": [60], "data_offsets": [len(data), len(data) + end - begin]}
    write_safetensors(path, {**header, "predictions.decoder.bias": twice}, data + data[begin:end][::-1])
    assert "differs from predictions.bias, which it is tied to" in refusal(trained, checkpoints, run_stage, tmp_path)
    write_safetensors(path, {**header, "extra.bias": twice}, data + data[begin:end])
    assert "weight extra.bias" in refusal(trained, checkpoints, run_stage, tmp_path)


def test_what_is_no_whole_checkpoint(trained: Path, checkpoints: Path, run_stage: Any, tmp_path: Path) -> None:
    state = trained / "best/state.json"
    state.write_text(json.dumps({"step": 5, "sha256": "00"}))
    assert "is of other weights than model.safetensors" in refusal(trained, checkpoints, run_stage, tmp_path)
    state.write_text("[]")
    assert "it has no step" in refusal(trained, checkpoints, run_stage, tmp_path)
    state.unlink()
    (trained / "best/albert_config.json").unlink()
    assert "albert_config.json: No such file" in refusal(trained, checkpoints, run_stage, tmp_path)
    (trained / "best/model.safetensors").unlink()
    assert "needs --config" in refusal(trained, checkpoints, run_stage, tmp_path)


def refusal(trained: Path, checkpoints: Path, run_stage: Any, tmp_path: Path) -> str:
    out = tmp_path / "m"
    done = run_stage(
        "convert", "--checkpoint", trained, "--vocab", checkpoints / "vocab.txt", "--out", out, code=2
    )  # fmt: skip
    assert not out.exists()
    (line,) = done.stderr.splitlines()
    return str(line)
