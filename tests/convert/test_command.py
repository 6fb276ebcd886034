"""The convert command: the same outputs as TensorFlow, a folder that transformers loads, what it refuses."""

import hashlib
import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

from tests.convert.conftest import arguments

ROOT = Path(__file__).resolve().parents[2]


def test_its_logits_are_tensorflows(model: Path, run_stage: Any, checkpoints: Path, tmp_path: Path) -> None:
    parity = json.loads((model / "manifest.json").read_text())["parity"]
    assert set(parity) == {"masked_lm_logits", "sentence_order_logits"}
    assert all(value < 1e-4 for value in parity.values())
    run_stage(*arguments(checkpoints, "groups", tmp_path / "groups"), "--verify")
    assert max(json.loads((tmp_path / "groups/manifest.json").read_text())["parity"].values()) < 1e-4


def test_verification_can_fail(run_stage: Any, checkpoints: Path, tmp_path: Path) -> None:
    """Another activation has the same variables and other outputs: nothing but --verify can see it."""
    config = json.loads((checkpoints / "plain.json").read_text())
    (tmp_path / "relu.json").write_text(json.dumps({**config, "hidden_act": "relu"}))
    reference = tmp_path / "reference.npz"
    python = ROOT / ".venv/tpu-train/bin/python"
    subprocess.run(
        [python, "-m", "stages.tpu_train.reference", "--checkpoint", checkpoints / "plain",
         "--config", checkpoints / "plain.json", "--out", reference], cwd=ROOT, check=True,
    )  # fmt: skip
    done = run_stage(
        "convert", "--checkpoint", checkpoints / "plain", "--config", tmp_path / "relu.json", "--verify",
        "--vocab", checkpoints / "vocab.txt", "--out", tmp_path / "m", "--reference", reference, code=2,
    )  # fmt: skip
    assert "differs from TensorFlow's" in done.stderr
    assert not (tmp_path / "m/model.safetensors").exists()
    done = run_stage(
        *arguments(checkpoints, "groups", tmp_path / "g"), "--verify", "--reference", reference, code=2
    )  # fmt: skip
    assert "is of another checkpoint" in done.stderr


def test_transformers_loads_it(model: Path) -> None:
    program = """
import sys, json
from transformers import AlbertForPreTraining, AlbertForMaskedLM, AutoModel, AutoTokenizer
report = {}
for kind in (AlbertForPreTraining, AlbertForMaskedLM, AutoModel):
    _, loading = kind.from_pretrained(sys.argv[1], output_loading_info=True)
    report[kind.__name__] = {name: sorted(loading[name + "_keys"]) for name in ("missing", "unexpected")}
tokenizer = AutoTokenizer.from_pretrained(sys.argv[1], trust_remote_code=True)
report["remote"] = tokenizer.tokenize("東京は[MASK]の首都である。")
sys.path.insert(0, sys.argv[2])
import tokenization
tokenizer = AutoTokenizer.from_pretrained(sys.argv[1])
assert type(tokenizer) is tokenization.BertJapaneseTinySegmenterTokenizer, type(tokenizer)
report["installed"] = tokenizer.tokenize("東京は[MASK]の首都である。")
print(json.dumps(report))
"""
    done = subprocess.run(
        [ROOT / ".venv/convert/bin/python", "-c", program, model, ROOT / "stages/words"],
        capture_output=True, encoding="utf-8", cwd="/", env={**os.environ, "HF_HUB_OFFLINE": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["AlbertForPreTraining"] == {"missing": [], "unexpected": []}
    # What the file holds beyond these two classes is the heads that they do not have.
    heads = ("albert.pooler.", "predictions.", "sop_classifier.")
    for kind in ("AlbertForMaskedLM", "AutoModel"):
        assert report[kind]["missing"] == []
        assert all(key.startswith(heads) for key in report[kind]["unexpected"])
    assert report["remote"] == report["installed"]
    assert "[MASK]" in report["remote"]


def test_what_the_folder_holds(model: Path, checkpoints: Path) -> None:
    manifest = json.loads((model / "manifest.json").read_text())
    assert sorted([*manifest["files"], "manifest.json"]) == sorted(path.name for path in model.iterdir())
    assert set(manifest["files"]) == {
        "README.md", "config.json", "model.safetensors", "vocab.txt", "tokenizer_config.json", "tokenization.py",
        "japanese_subwords.py", "model.onnx",
    }  # fmt: skip
    for name, described in manifest["files"].items():
        assert described["sha256"] == hashlib.sha256((model / name).read_bytes()).hexdigest()
    for name in ("tokenization.py", "japanese_subwords.py"):
        assert (model / name).read_bytes() == (ROOT / "stages/words" / name).read_bytes()
    assert (model / "vocab.txt").read_bytes() == (checkpoints / "vocab.txt").read_bytes()
    assert json.loads((model / "config.json").read_text())["hidden_act"] == "gelu_new"
    assert manifest["step"] == 1234
    assert "after 1,234 training steps" in (model / "README.md").read_text(encoding="utf-8")


def test_a_finished_model_is_left_alone_and_another_refused(model: Path, run_stage: Any, checkpoints: Path) -> None:
    assert "finished already" in run_stage(*arguments(checkpoints, "plain", model), "--verify").stderr
    done = run_stage(*arguments(checkpoints, "groups", model), "--verify", code=2)
    assert "was made with other options or inputs" in done.stderr


def test_architectures_and_vocabularies_that_do_not_fit(run_stage: Any, checkpoints: Path, tmp_path: Path) -> None:
    config = json.loads((checkpoints / "plain.json").read_text())

    def refusal(vocab: Path = checkpoints / "vocab.txt", **changed: Any) -> str:
        (tmp_path / "c.json").write_text(json.dumps({**config, **changed}))
        done = run_stage(
            "convert", "--checkpoint", checkpoints / "plain", "--config", tmp_path / "c.json", "--vocab", vocab,
            "--out", tmp_path / "m", code=2,
        )  # fmt: skip
        assert not (tmp_path / "m").exists()
        return str(done.stderr)

    said = refusal(intermediate_size=48)
    assert "variable bert/encoder/transformer/group_0/inner_group_0/ffn_1/intermediate/dense/kernel" in said
    assert "24 × 40, but 24 × 48" in said
    said = refusal(inner_group_num=2)
    assert "has no variable bert/encoder/transformer/group_0/inner_group_1/attention_1" in said
    assert "has no hidden_size" in refusal(hidden_size=None)
    assert "transformers' ALBERT knows 0 alone" in refusal(net_structure_type=1)
    short = tmp_path / "vocab.txt"
    short.write_text(
        "".join((checkpoints / "vocab.txt").read_text(encoding="utf-8").splitlines(True)[:-1]), encoding="utf-8"
    )
    assert "has 59 entries, but vocab_size is 60" in refusal(short)
    assert "cannot read" in refusal(tmp_path / "nothing.txt")
    config = json.loads((checkpoints / "groups.json").read_text())
    done = run_stage(
        "convert", "--checkpoint", checkpoints / "groups", "--config", checkpoints / "plain.json", "--vocab",
        checkpoints / "vocab.txt", "--out", tmp_path / "m", code=2,
    )  # fmt: skip
    assert "has no place in the configuration" in done.stderr


def test_checkpoints_that_are_none(run_stage: Any, checkpoints: Path, tmp_path: Path) -> None:
    for path in checkpoints.iterdir():
        shutil.copy(path, tmp_path)

    def refusal(name: str) -> str:
        return str(
            run_stage(
                "convert", "--checkpoint", tmp_path / name, "--config", tmp_path / "plain.json", "--vocab",
                tmp_path / "vocab.txt", "--out", tmp_path / "m", code=2,
            ).stderr
        )  # fmt: skip

    assert "takes the prefix of a TensorFlow checkpoint" in refusal("nothing")
    index = (tmp_path / "plain.index").read_bytes()
    (tmp_path / "plain.index").write_bytes(index[:-20])
    assert "plain.index: it is cut short" in refusal("plain")
    (tmp_path / "plain.index").write_bytes(index)
    data = bytearray((tmp_path / "plain.data-00000-of-00001").read_bytes())
    data[5000] ^= 1
    (tmp_path / "plain.data-00000-of-00001").write_bytes(data)
    said = refusal("plain")
    assert "the bytes of variable" in said
    assert "are damaged" in said
    (tmp_path / "plain.data-00000-of-00001").unlink()
    assert "is missing; a checkpoint is" in refusal("plain")
