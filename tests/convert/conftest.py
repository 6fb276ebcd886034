"""TensorFlow checkpoints with random weights, made by TensorFlow 1.15 itself, and their vocabularies."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
CONFIG = {
    "attention_probs_dropout_prob": 0.0, "hidden_act": "gelu", "hidden_dropout_prob": 0.0, "embedding_size": 16,
    "hidden_size": 24, "initializer_range": 0.02, "intermediate_size": 40, "max_position_embeddings": 32,
    "num_attention_heads": 3, "num_hidden_layers": 3, "num_hidden_groups": 1, "net_structure_type": 0, "gap_size": 0,
    "num_memory_blocks": 0, "inner_group_num": 1, "down_scale_factor": 1, "type_vocab_size": 2, "vocab_size": 60,
}  # fmt: skip
# All weights random and large, biases and layer norms too, so that nothing that is mixed up could go unseen.
PROGRAM = """
import json, sys
from stages.tpu_train import reference
from stages.tpu_train.tensorflow_albert import tf
for prefix in sys.argv[1:]:
    with open(prefix + ".json") as stream:
        config = json.load(stream)
    with tf.Graph().as_default(), tf.Session() as session:
        inputs = {name: tf.constant(array) for name, array in reference.reference_inputs(config).items()}
        reference.pretraining_logits(config, inputs)
        tf.set_random_seed(1)
        for variable in tf.trainable_variables():
            mean = float(variable.name.endswith("gamma:0"))
            session.run(variable.assign(tf.random.normal(variable.shape, mean, 0.3, seed=2)))
        step = tf.get_variable("global_step", initializer=tf.constant(1234, tf.int64), trainable=False)
        slot = tf.get_variable("bert/pooler/dense/kernel/adam_m", shape=[2], trainable=False)
        session.run([step.initializer, slot.initializer])
        tf.train.Saver().save(session, prefix)
"""


@pytest.fixture(scope="session")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`plain` and `groups` (two hidden groups of two layers): checkpoints, .json, and vocab.txt. Read only."""
    python = ROOT / ".venv/tpu-train/bin/python"
    if not python.exists():
        pytest.skip(f"{python} is missing; run make venv")
    # Tests of other folders ask as well, each for a fixture of its own: TensorFlow makes them once.
    kept = tmp_path_factory.getbasetemp() / "checkpoints"
    if kept.exists():
        return kept
    folder = tmp_path_factory.mktemp("checkpoints")
    configs: dict[str, dict[str, Any]] = {
        "plain": CONFIG, "groups": {**CONFIG, "num_hidden_layers": 4, "num_hidden_groups": 2, "inner_group_num": 2}
    }  # fmt: skip
    for name, config in configs.items():
        (folder / f"{name}.json").write_text(json.dumps(config))
    entries = [
        "[PAD]",
        "[UNK]",
        "[CLS]",
        "[SEP]",
        "[MASK]",
        *"日本の首都は東京である。この川海に流れ込む、江戸時代文化表水100度",
    ]
    entries = list(dict.fromkeys(entries))
    entries += ["##" + chr(0x3041 + n) for n in range(60 - len(entries))]
    (folder / "vocab.txt").write_text("".join(entry + "\n" for entry in entries), encoding="utf-8")
    subprocess.run([python, "-c", PROGRAM, *(str(folder / name) for name in configs)], cwd=ROOT, check=True)
    return folder.rename(kept)


def arguments(checkpoints: Path, name: str, out: Path) -> tuple[Any, ...]:
    """The command that converts one of them."""
    return (
        "convert", "--checkpoint", checkpoints / name, "--config", checkpoints / f"{name}.json",
        "--vocab", checkpoints / "vocab.txt", "--out", out,
    )  # fmt: skip


@pytest.fixture(scope="session")
def model(run_stage: Any, checkpoints: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The model folder of `plain`, compared with TensorFlow. Read only."""
    out = tmp_path_factory.getbasetemp() / "models" / "wordpiece_tinysegmenter" / "tiny"
    if out.exists():
        return out
    out.parent.mkdir(parents=True)
    done = run_stage(*arguments(checkpoints, "plain", out), "--verify")
    assert "largest difference from TensorFlow" in done.stderr
    assert "largest difference of model.onnx from PyTorch" in done.stderr
    assert len(done.stdout.splitlines()) == 4, "a line for each masked sentence"
    return out
