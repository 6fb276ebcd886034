"""The command: what a run leaves, how it goes on after every kind of end, several processes, what it refuses."""

import json
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import ROOT, Run, stage_command
from tests.train.conftest import Program

CONFIG = {
    "vocab_size": 6144, "embedding_size": 16, "hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2,
    "intermediate_size": 48, "max_position_embeddings": 32, "type_vocab_size": 2, "num_hidden_groups": 1,
    "inner_group_num": 1, "hidden_act": "gelu", "hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0,
    "initializer_range": 0.02,
}  # fmt: skip
STEPS, SAVED = 24, 8
Row = dict[str, Any]


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory, run_stage: Run, corpus: Path, vocab: Path) -> list[object]:
    """The flags of a small run, but for OUT."""
    folder = tmp_path_factory.mktemp("train")
    options = ("--model", "character", "--seq-length", 32, "--dupe-factor", 1, "--jobs", 2)
    run_stage("tfrecords", "--corpus", corpus, "--vocab", vocab, "--out", folder / "tfrecords", *options)
    (folder / "config.json").write_text(json.dumps(CONFIG))
    return [
        *("--tfrecords", folder / "tfrecords" / "character", "--config", folder / "config.json", "--device", "cpu"),
        *("--vocab-size-from-tfrecords", "--vocab", vocab / "character" / "vocab.txt", "--batch", 8),
        *("--steps", STEPS, "--save-every", SAVED, "--log-every", 1, "--eval-steps", 2, "--eval-batch", 8),
        # Some processors compute in bfloat16, where sums in another order differ by more than a test can allow.
        *("--precision", "float32", "--recipe", "published"),
    ]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, run_stage: Run, inputs: list[object]) -> Path:
    """A run that nothing has disturbed. Read only."""
    out = tmp_path_factory.mktemp("whole") / "out"
    said = run_stage("train", *inputs, "--out", out)
    assert re.search(r"best: step \d+, masked LM accuracy 0\.\d+, loss \d", said.stdout)
    return out


def rows(out: Path) -> list[Row]:
    """The rows of a run, but for its times."""
    return rows_of((out / "metrics.jsonl").read_text())


def rows_of(metrics: str) -> list[Row]:
    """The same of a file's text."""
    found = [json.loads(line) for line in metrics.splitlines()]
    return [{name: value for name, value in row.items() if name != "seconds"} for row in found]


def same_run(one: Path, other: Path, steps: int = STEPS) -> None:
    """Equal losses at every step, and equal weights and moments to the bit."""
    assert rows(one) == rows(other)
    for name in (
        "best/model.safetensors",
        f"step-{steps:08d}/model.safetensors",
        f"step-{steps:08d}/optimizer.safetensors",
    ):
        assert (one / name).read_bytes() == (other / name).read_bytes(), name


def begun(arguments: list[object], out: Path, until: str) -> "subprocess.Popen[str]":
    """The command, as far as there is a file of this name in OUT."""
    command = [*stage_command("train"), *map(str, arguments), "--out", str(out)]
    process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, encoding="utf-8")
    end = time.monotonic() + 120
    while not (out / until).exists():
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < end
        time.sleep(0.005)
    return process


def test_a_run_leaves_checkpoints_metrics_and_pictures(whole: Path, run_stage: Run, inputs: list[object]) -> None:
    found = rows(whole)
    train, held_out = ([row for row in found if row["of"] == of] for of in ("train", "held_out"))
    assert [row["step"] for row in train] == list(range(1, STEPS + 1))
    assert [row["step"] for row in held_out] == [8, 16, 24]
    assert train[0]["learning_rate"] == 0.005 * (1 - 0 / STEPS)
    best = max(held_out, key=lambda row: (row["masked_lm_accuracy"], -row["masked_lm_loss"]))
    assert json.loads((whole / "best/state.json").read_text())["step"] == best["step"]
    manifest = json.loads((whole / "manifest.json").read_text())
    assert manifest["best"]["step"] == best["step"]
    assert {"best/model.safetensors", "metrics.jsonl", "progress.svg", "progress.png"} < set(manifest["files"])
    assert (whole / "progress.png").read_bytes().startswith(b"\x89PNG")
    assert list((whole / "events").iterdir())
    assert not [path for path in whole.rglob("*") if path.name.endswith((".partial", ".bin", ".pt", ".pkl"))]
    assert "finished already" not in run_stage("train", *inputs, "--out", whole).stderr
    assert rows(whole) == found


@pytest.mark.parametrize("until", ["run.json", "step-00000008/state.json"])
def test_a_run_that_is_killed_goes_on_as_if_nothing_had_been(
    whole: Path, inputs: list[object], run_stage: Run, tmp_path: Path, until: str
) -> None:
    process = begun(inputs, tmp_path / "out", until)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert not (tmp_path / "out/manifest.json").exists()
    # As if it had been copying the best model.
    (tmp_path / "out/best").mkdir(exist_ok=True)
    (tmp_path / "out/best/state.json").unlink(missing_ok=True)
    (tmp_path / "out/best/.model.safetensors.0.partial").touch()
    run_stage("train", *inputs, "--out", tmp_path / "out")
    same_run(whole, tmp_path / "out")
    assert not list((tmp_path / "out").rglob("*.partial"))


def test_a_run_in_bfloat16_goes_on_to_the_bit_as_well(
    whole: Path, inputs: list[object], run_stage: Run, tmp_path: Path, train_python: Program
) -> None:
    found = train_python("-c", "import stages.devices as d; print(d.computes_bfloat16('cpu'))")
    if found != "True\n":
        pytest.skip("this processor does not compute in bfloat16")
    flags = [*inputs, "--precision", "bfloat16"]
    run_stage("train", *flags, "--out", tmp_path / "whole")
    process = begun(flags, tmp_path / "out", "step-00000008/state.json")
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert "was computed on" not in run_stage("train", *flags, "--out", tmp_path / "out").stderr
    same_run(tmp_path / "whole", tmp_path / "out")
    assert rows(whole) != rows(tmp_path / "out")
    for alone, rounded in zip(rows(whole), rows(tmp_path / "out"), strict=True):
        assert rounded["masked_lm_loss"] == pytest.approx(alone["masked_lm_loss"], rel=5e-3), alone["step"]


def test_a_run_that_goes_on_elsewhere_says_so(inputs: list[object], run_stage: Run, tmp_path: Path) -> None:
    process = begun(inputs, tmp_path / "out", "step-00000008/state.json")
    process.send_signal(signal.SIGKILL)
    process.communicate()
    [*_, last] = sorted((tmp_path / "out").glob("step-*/state.json"))
    state = json.loads(last.read_text())
    assert state["device"] == "cpu, float32"
    last.write_text(json.dumps({**state, "device": "NVIDIA H100, bfloat16"}))
    said = run_stage("train", *inputs, "--out", tmp_path / "out").stderr
    assert f"train: step {state['step']} was computed on NVIDIA H100, bfloat16, the next ones on cpu, float32" in said


def test_sigterm_saves_the_step_and_the_run_goes_on_there_with_dropout_too(
    inputs: list[object], run_stage: Run, tmp_path: Path
) -> None:
    config = tmp_path / "config.json"
    config.write_text(json.dumps({**CONFIG, "hidden_dropout_prob": 0.1}))
    # So many steps that the signal comes before the last one, however busy the machine is.
    steps = 4 * STEPS
    flags = [*(config if str(word).endswith("config.json") else word for word in inputs), "--steps", steps]
    run_stage("train", *flags, "--out", tmp_path / "whole")
    out = tmp_path / "out"
    process = begun(flags, out, "step-00000008/state.json")
    process.send_signal(signal.SIGTERM)
    said = process.communicate()[1]
    assert process.returncode == 143, said
    (step,) = re.findall(r"stopped at step (\d+), checkpoint saved; the same command resumes", said)
    assert (out / f"step-{int(step):08d}/state.json").exists()
    run_stage("train", *flags, "--out", out)
    same_run(tmp_path / "whole", out, steps)


@pytest.mark.parametrize("more", [("--processes", 2), ("--micro-batch", 3)], ids=["processes", "passes"])
def test_a_batch_in_parts_gives_the_losses_of_the_whole(
    whole: Path, inputs: list[object], run_stage: Run, tmp_path: Path, more: tuple[object, ...]
) -> None:
    run_stage("train", *inputs, "--out", tmp_path / "out", *more)
    found = rows(tmp_path / "out")
    assert [(row["of"], row["step"]) for row in found] == [(row["of"], row["step"]) for row in rows(whole)]
    for alone, together in zip(rows(whole), found, strict=True):
        for name in ("masked_lm_loss", "sentence_order_loss", "masked_lm_accuracy"):
            assert together[name] == pytest.approx(alone[name], abs=2e-5), (name, alone["step"])


@pytest.mark.skipif(not shutil.which("g++"), reason="torch.compile needs g++")
def test_compiled_passes_give_the_losses_of_others(
    whole: Path, inputs: list[object], run_stage: Run, tmp_path: Path
) -> None:
    run_stage("train", *inputs, "--out", tmp_path / "out", "--compile", "on")
    for alone, compiled in zip(rows(whole), rows(tmp_path / "out"), strict=True):
        for name in ("masked_lm_loss", "sentence_order_loss"):
            assert compiled[name] == pytest.approx(alone[name], abs=2e-5), (name, alone["step"])


def test_compiling_without_a_compiler_is_refused(inputs: list[object], run_stage: Run, tmp_path: Path) -> None:
    flags = ("--out", tmp_path / "out", "--compile", "on")
    said = run_stage("train", *inputs, *flags, code=2, env={"CXX": "/nowhere/g++"}).stderr
    assert "torch.compile finds no compiler here" in said


def test_a_compiler_that_fails_is_one_line(inputs: list[object], run_stage: Run, tmp_path: Path) -> None:
    flags = ("--out", tmp_path / "out", "--compile", "on")
    caches = {"TORCHINDUCTOR_CACHE_DIR": str(tmp_path / "cache")}
    said = run_stage("train", *inputs, *flags, code=2, env={"CXX": "/bin/false", **caches}).stderr
    assert "torch.compile failed" in said
    assert "--compile off" in said
    assert "Traceback" not in said


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (
            ["--device", "cuda", "--warmup", 99, "--processes", 3, "--seq-length", 64],
            [
                *("there is no CUDA device", "DEVICE=cpu", "--warmup 99 is longer than the run of --steps 24"),
                *("--batch 8 is not a multiple of --processes 3", "--seq-length 32, not 64"),
            ],
        ),
        (["--tfrecords", "/nowhere"], ["there is no folder /nowhere"]),
        (["--batch", 0], ["--batch", "0 is no whole number of 1 or more"]),
    ],
)
def test_what_cannot_be_is_refused_all_at_once(
    inputs: list[object], run_stage: Run, tmp_path: Path, more: list[object], words: list[str]
) -> None:
    said = run_stage("train", *inputs, "--out", tmp_path / "out", *more, code=2).stderr
    assert [word for word in words if word not in said] == [], said
    assert not (tmp_path / "out").exists()


def test_another_run_in_the_folder_is_refused_and_a_damaged_file_named(
    whole: Path, inputs: list[object], run_stage: Run, tmp_path: Path
) -> None:
    said = run_stage("train", *inputs, "--out", whole, "--seed", 1, code=2).stderr
    assert "was made with other options or inputs: options.seed was 12345 and is now 1" in said
    tfrecords = tmp_path / "tfrecords"
    shutil.copytree(str(inputs[1]), tfrecords)
    damaged = sorted(tfrecords.glob("*.gz"))[0]
    data = bytearray(damaged.read_bytes())
    data[len(data) // 2] ^= 8
    damaged.write_bytes(data)
    said = run_stage("train", *inputs, "--out", tmp_path / "out", "--tfrecords", tfrecords, code=2).stderr
    assert damaged.name in said
    assert "make the TFRecords again" in said


def test_check_says_what_a_run_would_start_from(inputs: list[object], run_stage: Run, tmp_path: Path) -> None:
    said = run_stage("train", *inputs, "--out", tmp_path / "out", "--check").stdout
    assert [line.split()[0] for line in said.splitlines()] == [
        "tfrecords",
        "config",
        "vocab",
        "out",
        "device",
        "versions",
    ]
    assert not (tmp_path / "out").exists()


def test_every_epoch_may_be_masked_anew(inputs: list[object], run_stage: Run, tmp_path: Path) -> None:
    run_stage("train", *inputs, "--out", tmp_path / "out", "--dynamic-masking")
    assert len(rows(tmp_path / "out")) == STEPS + 3


def test_a_rate_that_is_too_high_is_told_and_no_checkpoint_is_written(
    inputs: list[object], run_stage: Run, tmp_path: Path
) -> None:
    said = run_stage("train", *inputs, "--out", tmp_path / "out", "--learning-rate", "1e30", code=2).stderr
    assert re.search(r"the loss is not a number at step \d+: the rate \S+ is too high", said)
    assert "a lower --learning-rate" in said
    assert not list((tmp_path / "out").glob("step-*"))
