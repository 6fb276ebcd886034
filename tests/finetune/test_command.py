"""The stage's command: a small model learns a few examples of each task; killed runs resume; refusals."""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest

from stages.finetune.metrics import character_f1
from tests.finetune.conftest import LEARNED, Learned, Run, command
from tests.finetune.samples import (
    JCOMMONSENSEQA,
    JNLI,
    JSICK,
    JSTS,
    MARC_JA,
    NER,
    jsquad,
    sentence,
    write_lines,
    write_task,
)

MODEL = ["config.json", "japanese_subwords.py", "model.safetensors", "tokenization.py", "tokenizer_config.json"]


def test_every_task_can_be_learned(learned: Learned) -> None:
    assert set(learned.codes.values()) == {0}
    for task in ("jnli", "jcommonsenseqa", "marc-ja", "jsick"):
        assert learned.best(task) == {"accuracy": 1.0}
    assert learned.best("jsquad") == {"exact_match": 1.0, "f1": 1.0}
    assert learned.best("ner") == {"f1": 1.0, "precision": 1.0, "recall": 1.0}
    assert learned.best("jsts")["pearson"] > 0.9
    assert learned.best("jsts")["spearman"] > 0.6


def test_the_saved_model_predicts_what_was_measured(learned: Learned) -> None:
    """By transformers' own encoding of one example at a time, without this stage's arrays and batches."""
    predictions = learned.predictions
    assert predictions["jnli"] == [each["label"] for each in JNLI]
    assert predictions["jsick"] == [each["entailment_label_Ja"] for each in JSICK]
    # Each of the first sentence's tokens is one character.
    assert predictions["ner"][0] == ["B-人名", "I-人名", "O", "B-施設名", *["I-施設名"] * 3, *"OOOOOOO"]
    assert predictions["ner"][2] == [*"OOOOO"]
    by_steps, by_sum = predictions["sequence_losses"]
    assert by_steps == pytest.approx(by_sum, rel=1e-5)
    assert predictions["marc-ja"] == [each["label"] for each in MARC_JA]
    assert predictions["jcommonsenseqa"] == [each["label"] for each in JCOMMONSENSEQA]
    assert predictions["jsquad"] == [each["answers"][0]["text"] for each in jsquad()["data"][1]["paragraphs"][0]["qas"]]
    assert predictions["pearson"] == pytest.approx(learned.best("jsts")["pearson"], abs=1e-4)


def test_correlations_are_those_of_the_textbook(learned: Learned) -> None:
    """[0 1 2 4] and [1 2 3 10]: covariance 20, squares 8.75 and 50, so 20 / √437.5; the ranks are the same."""
    assert learned.predictions["correlations"]["pearson"] == pytest.approx(20 / 437.5**0.5)
    assert learned.predictions["correlations"]["spearman"] == pytest.approx(1)
    assert learned.predictions["of constants"] == {"pearson": None, "spearman": None}


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


def test_the_tokenizer_is_that_of_the_source_with_all_settings(learned: Learned) -> None:
    """Words that are never split, the side of truncation: settings that a vocabulary and a kind do not tell."""
    source, tuned = (
        json.loads((folder / "tokenizer_config.json").read_text())
        for folder in (learned.folder / "model", learned.out("jnli") / "model")
    )
    assert (tuned["never_split"], tuned["truncation_side"]) == (["◎◎"], "left")
    assert {name: tuned.get(name) for name in source} == source


def test_the_table_names_the_best_run(learned: Learned) -> None:
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


def test_the_results_have_intervals_and_baselines(learned: Learned) -> None:
    """Eight of eight are right: Wilson's interval begins at 1 / (1 + 1.96² / 8)."""
    jnli, jsts, jsquad, ner = (learned.results(task) for task in ("jnli", "jsts", "jsquad", "ner"))
    assert jnli["runs"][1]["interval"] == pytest.approx([0.67559, 1], abs=1e-5)
    assert jnli["baselines"] == {"chance": 0.333333, "majority": 0.375, "overlap": 0.75}
    assert jnli["split"] is jnli["without_pretraining"] is None
    assert list(jsts["baselines"]) == ["overlap"]
    overlaps = [character_f1(each["sentence1"], each["sentence2"]) for each in JSTS]
    pearson = np.corrcoef(overlaps, [each["label"] for each in JSTS])[0, 1]
    assert jsts["baselines"]["overlap"] == pytest.approx(pearson, rel=1e-5)
    low, high = jsts["runs"][0]["interval"]
    assert low < learned.best("jsts")["pearson"] < high
    assert (jsquad["baselines"], jsquad["runs"][0]["interval"]) == ({}, [1, 1])
    assert {name: of["entities"] for name, of in ner["runs"][0]["types"].items()} == {"人名": 4, "地名": 2, "施設名": 4}
    assert ner["baselines"] == {"dictionary": 1}
    table = (learned.out("ner") / "results.md").read_text()
    assert "| best run               | 1.0000 | 1.0000 to 1.0000 |" in table
    assert "| 施設名  | 4        | 1.0000 | 1.0000    | 1.0000 |" in table


def test_the_best_run_is_made_again_without_pretraining(train_python: Run, learned: Learned, tmp_path: Path) -> None:
    """It is recorded beside the others, and not made again after a kill."""
    out, results = learned.out("scratch"), learned.results("scratch")
    name, untrained = f"scratch-{results['best']}", results["without_pretraining"]
    record = json.loads((out / "runs" / f"{name}.json").read_text())
    assert record == untrained
    best = next(each for each in results["runs"] if each["name"] == results["best"])
    assert untrained["training_loss"] != best["training_loss"]
    assert f"| without pretraining   | {untrained['dev']['accuracy']:.4f}   |" in (out / "results.md").read_text()
    # The folder as it is when the process is killed after the last run.
    killed = tmp_path / "killed"
    shutil.copytree(out, killed)
    (killed / "model").rename(killed / "runs" / results["best"])
    manifest = json.loads((killed / "manifest.json").read_text())
    identity = {key: manifest[key] for key in ("stage", "version", "options", "inputs")}
    (killed / "run.json").write_text(json.dumps(identity))
    for file in ("manifest.json", "results.json", "results.md"):
        (killed / file).unlink()
    arguments = ["--learning-rate", "1e-2", "--epochs", "2", "3", "--scratch"]
    train_python("-m", "stages.finetune", *command(learned.folder, "jsick", killed, *arguments))
    for file in ("manifest.json", "results.json", "results.md", "model/model.safetensors"):
        assert (killed / file).read_bytes() == (out / file).read_bytes(), file


def test_one_file_of_entities_is_split(train_python: Run, learned: Learned, tmp_path: Path) -> None:
    """Page 0 is measured on. Its entities are of a type that the training set has not: they count as missed."""
    folder = tmp_path / "ner"
    folder.mkdir()
    sentences = [sentence(0, "田中は赤い靴を買った。", 製品名="赤い靴"), *NER]
    (folder / "ner.json").write_text(json.dumps(sentences), encoding="utf-8")
    arguments = ["--dataset", folder, "--learning-rate", "1e-2", "--epochs", 1, "--max-length", 16]
    done = train_python("-m", "stages.finetune", *command(learned.folder, "ner", tmp_path / "out", *arguments))
    split = "Both parts are from one file: one in 10 of its pages, by SHA-256, is measured on."
    assert done.stdout.splitlines()[2].endswith(f"model on ner.json, 1 examples; learned from 6. {split}")
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    assert results["split"] == split
    assert results["runs"][0]["types"]["製品名"] == {"entities": 1, "f1": 0, "precision": None, "recall": 0}


def test_progress_is_plain_lines_and_nothing_else(learned: Learned) -> None:
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
    jsick, ner = write_task(tmp_path / "jsick", "jsick"), write_task(tmp_path / "ner", "ner")
    (jsick / "train.tsv").write_text("sentence_A_Ja\n")
    (ner / "train.json").write_text(json.dumps([{**NER[0], "text": "中田は青空食堂で働いている。"}]))
    cases: list[tuple[list[object], str]] = [
        (["--dataset", broken], f'{broken}/valid-v1.1.json, line 2: label is "maybe"; it must be one of entailment, c'),
        (["--dataset", tmp_path], f"{tmp_path}/jnli"),
        (["--task", "jsick", "--dataset", jsick], f"{jsick}/train.tsv, line 1: no column sentence_B_Ja"),
        (["--task", "ner", "--dataset", ner], f'{ner}/train.json, [0].entities[0]: span [0, 2] of the text is "中田"'),
        (["--model", learned.folder / "jnli"], "is no model folder: it has no config.json and no model.safetensors"),
        (["--grid", "jglue"], "leave out --learning-rate and --epochs"),
        (["--micro-batch", "3"], "--micro-batch 3 does not divide the batch of 8"),
        (["--learning-rate", "nan"], "nan is no number from 1e-12 to 1000000000"),
    ]
    for more, words in cases:
        started = command(learned.folder, "jnli", tmp_path / "out", *LEARNED["jnli"], *more)
        done = train_python("-X", "importtime", "-m", "stages.finetune", *started, code=2)
        lines = [line for line in done.stderr.splitlines() if not line.startswith("import time:")]
        assert words in lines[-1], lines
        assert "| torch\n" not in done.stderr
    assert not (tmp_path / "out").exists()
