"""The stage's command: a small model learns a few examples of each task by heart; killed runs go on; refusals."""

import json
import re
import shutil
from pathlib import Path

import pytest

from tests.finetune.conftest import LEARNED, Learned, Run, command
from tests.finetune.samples import JCOMMONSENSEQA, JNLI, MARC_JA, jsquad, write_lines

MODEL = ["config.json", "japanese_subwords.py", "model.safetensors", "tokenization.py", "tokenizer_config.json"]


def test_every_task_can_be_learned_by_heart(learned: Learned) -> None:
    assert set(learned.codes.values()) == {0}
    for task in ("jnli", "jcommonsenseqa", "marc-ja"):
        assert learned.best(task) == {"accuracy": 1.0}
    assert learned.best("jsquad") == {"exact_match": 1.0, "f1": 1.0}
    assert learned.best("jsts")["pearson"] > 0.9
    assert learned.best("jsts")["spearman"] > 0.6


def test_the_saved_model_says_what_was_measured(learned: Learned) -> None:
    """By transformers' own encoding of one example at a time, without this stage's arrays and batches."""
    said = learned.said
    assert said["jnli"] == [each["label"] for each in JNLI]
    assert said["marc-ja"] == [each["label"] for each in MARC_JA]
    assert said["jcommonsenseqa"] == [each["label"] for each in JCOMMONSENSEQA]
    assert said["jsquad"] == [each["answers"][0]["text"] for each in jsquad()["data"][1]["paragraphs"][0]["qas"]]
    assert said["pearson"] == pytest.approx(learned.best("jsts")["pearson"], abs=1e-4)


def test_correlations_are_those_of_the_textbook(learned: Learned) -> None:
    """[0 1 2 4] and [1 2 3 10]: covariance 20, squares 8.75 and 50, so 20 / √437.5; the ranks are the same."""
    assert learned.said["correlations"]["pearson"] == pytest.approx(20 / 437.5**0.5)
    assert learned.said["correlations"]["spearman"] == pytest.approx(1)
    assert learned.said["of constants"] == {"pearson": None, "spearman": None}


def test_the_folder_holds_results_a_model_and_no_pickle(learned: Learned) -> None:
    for task in LEARNED:
        out = learned.out(task)
        assert sorted(path.name for path in (out / "model").iterdir()) == [*MODEL, "vocab.txt"]
        manifest = json.loads((out / "manifest.json").read_text())
        assert sorted(manifest["files"]) == sorted(
            ["results.json", "results.md", *(f"model/{name}" for name in [*MODEL, "vocab.txt"])]
        )
        assert sorted(path.name for path in out.iterdir()) == [
            "manifest.json", "model", "results.json", "results.md", "runs",
        ]  # fmt: skip
        assert {path.suffix for path in (out / "runs").iterdir()} == {".json"}


def test_the_best_run_is_told_in_a_table(learned: Learned) -> None:
    """Two epochs are too few to learn the examples, and 40 are enough."""
    out = learned.out("jnli")
    lines = (out / "results.md").read_text().splitlines()
    assert (learned.folder / "jnli.txt").read_text().splitlines() == lines
    assert lines[0] == "# JNLI"
    assert lines[2].endswith("model on valid-v1.1.json, 8 examples; learned from 8.")
    rows = [line for line in lines if line.startswith("| 0.01 ")]
    assert [row.rstrip(" |").endswith("best") for row in rows] == [False, True]
    assert "| 1.0000 " in rows[1]
    assert learned.results("jnli")["best"] == "rate-0.01-epochs-40-seed-42"
    assert "Mean and standard deviation over 2 seeds:" in (learned.out("marc-ja") / "results.md").read_text()


def test_progress_is_plain_lines_and_nothing_else_is_said(learned: Learned) -> None:
    first, last, *more = (learned.folder / "jnli.err").read_text().splitlines()
    assert not more
    assert re.fullmatch(r"finetune: 336 examples, [\d,.]+/s, in .* s", first)
    assert last == f"finetune: wrote {learned.out('jnli')}/model"


def test_a_killed_run_keeps_what_is_finished_and_ends_the_same(learned: Learned) -> None:
    """Killed by SIGKILL once the first of two runs was recorded, and started again."""
    killed = learned.out("killed")
    assert "finetune: 320 examples, " in (learned.folder / "killed.err").read_text(), "the finished run was made again"
    assert list(learned.killed) == ["rate-0.01-epochs-2-seed-42.json"]
    for name, written in learned.killed.items():
        assert (killed / "runs" / name).stat().st_mtime_ns == written
    for name in ("manifest.json", "results.json", "results.md", "model/model.safetensors"):
        assert (killed / name).read_bytes() == (learned.out("jnli") / name).read_bytes(), name
    assert not list((killed / "runs").glob("*/"))


def test_two_passes_a_batch_are_one_with_the_mean_of_both(learned: Learned) -> None:
    one, two = (learned.results(name)["runs"][0] for name in ("jnli", "two passes"))
    assert one["epochs"] == two["epochs"] == 2
    assert one["training_loss"] == pytest.approx(two["training_loss"], rel=1e-4)


def test_a_finished_folder_is_left_alone_and_another_run_refused(train_python: Run, learned: Learned) -> None:
    arguments = command(learned.folder, "jnli", learned.out("jnli"), *LEARNED["jnli"])
    done = train_python("-m", "stages.finetune", *arguments)
    assert "is finished already" in done.stderr
    done = train_python("-m", "stages.finetune", *arguments, "--seed", 7, code=2)
    assert "options.seeds was [42] and is now [7]" in done.stderr


def test_refusals_name_the_file_the_line_and_what_is_expected(
    train_python: Run, learned: Learned, tmp_path: Path
) -> None:
    """Nothing is written, and no large library loaded."""
    broken = tmp_path / "jnli"
    shutil.copytree(learned.folder / "jnli", broken)
    write_lines(broken / "valid-v1.1.json", [JNLI[0], {**JNLI[1], "label": "maybe"}])
    cases: list[tuple[list[object], str]] = [
        (["--dataset", broken], f'{broken}/valid-v1.1.json, line 2: label is "maybe"; it must be one of entailment, c'),
        (["--dataset", tmp_path], f"{tmp_path}/jnli"),
        (["--model", learned.folder / "jnli"], "is no model folder: it has no config.json and no model.safetensors"),
        (["--grid", "jglue"], "leave out --learning-rate and --epochs"),
        (["--micro-batch", "3"], "--micro-batch 3 does not divide the batch of 8"),
        (["--learning-rate", "nan"], "nan is no number of 1e-12 or more"),
    ]
    for more, words in cases:
        started = command(learned.folder, "jnli", tmp_path / "out", *LEARNED["jnli"], *more)
        done = train_python("-X", "importtime", "-m", "stages.finetune", *started, code=2)
        said = [line for line in done.stderr.splitlines() if not line.startswith("import time:")]
        assert words in said[-1], said
        assert "| torch\n" not in done.stderr
    assert not (tmp_path / "out").exists()
