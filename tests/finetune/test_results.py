"""The runs of a grid, the best run, the table; the files of a folder."""

from pathlib import Path

import pytest

from stages.command.refusal import Refusal
from stages.finetune.data import find_files
from stages.finetune.results import table
from stages.finetune.runs import GRIDS, Run, best_run, runs
from stages.finetune.tasks import TASKS


def test_the_published_grid_is_six_runs_a_seed() -> None:
    grid = runs(*GRIDS["jglue"], [42])
    assert [(run.learning_rate, run.epochs) for run in grid] == [
        (5e-5, 3), (5e-5, 4), (3e-5, 3), (3e-5, 4), (2e-5, 3), (2e-5, 4),
    ]  # fmt: skip
    assert grid[0].name == "rate-5e-05-epochs-3-seed-42"
    assert len({run.name for run in runs(*GRIDS["jglue"], [1, 2, 2])}) == 12


def test_the_published_lengths_and_batches() -> None:
    assert {name: (task.max_length, task.batch) for name, task in TASKS.items()} == {
        "jsts": (128, 32), "jnli": (128, 32), "jcommonsenseqa": (64, 64), "marc-ja": (512, 32), "jsquad": (384, 32),
        "jsick": (128, 32), "ner": (512, 32),
    }  # fmt: skip


def records_of(*figures: float | None) -> dict[Run, dict[str, object]]:
    return {
        Run(1e-5 * n, 3, 42): {"dev": {"pearson": figure, "spearman": 0.5}, "interval": None}
        for n, figure in enumerate(figures, 1)
    }


@pytest.mark.parametrize(
    ("figures", "place"),
    [([0.2, 0.9, 0.3], 1), ([0.9, 0.9], 0), ([None, -0.5], 1), ([None, None], 0), ([-0.9, None], 0)],
)
def test_the_best_run_is_the_first_of_the_highest(figures: list[float | None], place: int) -> None:
    records = records_of(*figures)
    assert best_run(TASKS["jsts"], records) == list(records)[place]


def test_undefined_figures_are_named() -> None:
    records = records_of(0.25, None)
    untrained = {"dev": {"pearson": 0.125, "spearman": None}, "interval": [-0.5, 0.75]}
    assert table(TASKS["jsts"], records, next(iter(records)), "m on dev.", {"overlap": None}, untrained) == (
        "# JSTS\n\nm on dev.\n\n"
        "| learning rate | epochs | seed | Pearson   | Spearman |      |\n"
        "| ------------- | ------ | ---- | --------- | -------- | ---- |\n"
        "| 1e-05         | 3      | 42   | 0.2500    | 0.5000   | best |\n"
        "| 2e-05         | 3      | 42   | undefined | 0.5000   |      |\n\n"
        "The best run was chosen by the same examples that it is measured on: on others expect less.\n\n"
        "The best run beside what needs no pretraining, and published larger models:\n\n"
        "|                                               | Pearson   | 95 % interval     |\n"
        "| --------------------------------------------- | --------- | ----------------- |\n"
        "| best run                                      | 0.2500    | undefined         |\n"
        "| without pretraining                           | 0.1250    | -0.5000 to 0.7500 |\n"
        "| overlap of characters                         | undefined |                   |\n"
        "| izumi-lab deberta-v2-small, 17.8 M parameters | 0.890     |                   |\n"
        "| LINE DistilBERT, 68 M                         | 0.892     |                   |\n"
        "| Tohoku bert-base char-v2, 90 M                | 0.893     |                   |\n"
    )


def test_seeds_get_a_mean() -> None:
    records = {Run(1e-5, 3, n): {"dev": {"accuracy": each}, "interval": [0, 1]} for n, each in ((1, 0.5), (2, 0.7))}
    lines = table(TASKS["jnli"], records, Run(1e-5, 3, 2), "", {}).splitlines()
    assert "| 1e-05         | 3      | 0.6000 ± 0.1414 |" in lines


def test_entities_get_a_table_by_type() -> None:
    figures = {"f1": 0.5, "precision": 0.5, "recall": 0.5}
    types = {"地名": {"entities": 3, "f1": 0.0, "precision": None, "recall": 0.0}}
    records = {Run(1e-5, 3, 1): {"dev": figures, "interval": [0.25, 0.75], "types": types}}
    lines = table(TASKS["ner"], records, next(iter(records)), "", {"dictionary": 0.25}).splitlines()
    assert "| 地名   | 3        | 0.0000 | undefined | 0.0000 |" in lines
    assert "| dictionary of entities | 0.2500 |                  |" in lines


def test_a_run_without_pretraining_has_a_name_of_its_own() -> None:
    assert Run(1e-3, 3, 42, pretrained=False).name == "scratch-rate-0.001-epochs-3-seed-42"


def touch(folder: Path, *names: str) -> str:
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).touch()
    return str(folder)


def test_a_folder_of_one_task_or_of_them_all(tmp_path: Path) -> None:
    jsts = touch(tmp_path / "jsts-v1.3", "train-v1.3.json", "valid-v1.3.json", "test-v1.3.json")
    marc = touch(tmp_path / "marc_ja-v1.2", "train-v1.2.json", "dev.jsonl")
    expected = (f"{jsts}/train-v1.3.json", f"{jsts}/valid-v1.3.json")
    assert find_files(jsts, TASKS["jsts"]) == find_files(str(tmp_path), TASKS["jsts"]) == expected
    assert find_files(str(tmp_path), TASKS["marc-ja"]) == (f"{marc}/train-v1.2.json", f"{marc}/dev.jsonl")


def test_jsick_and_entities_may_be_one_file(tmp_path: Path) -> None:
    jsick = touch(tmp_path / "jsick", "train.tsv", "test.tsv", "jsick.tsv")
    assert find_files(str(tmp_path), TASKS["jsick"]) == (f"{jsick}/train.tsv", f"{jsick}/train.tsv")
    ner = touch(tmp_path / "ner-wikipedia", "ner.json", "README.md")
    assert find_files(ner, TASKS["ner"]) == (f"{ner}/ner.json", f"{ner}/ner.json")
    touch(tmp_path / "ner-wikipedia", "train.json", "valid.json")
    assert find_files(ner, TASKS["ner"]) == (f"{ner}/train.json", f"{ner}/valid.json")
    two = touch(tmp_path / "two", "a.json", "b.json")
    with pytest.raises(Refusal, match=r"two has no file train\*.json; .*NER, as github.com/stockmarkteam"):
        find_files(two, TASKS["ner"])


def test_ambiguous_folders_are_refused(tmp_path: Path) -> None:
    jsts = TASKS["jsts"]
    with pytest.raises(Refusal, match=r"there is no folder .*/none; it must hold"):
        find_files(str(tmp_path / "none"), jsts)
    one = touch(tmp_path / "jsts-v1.1", "train-v1.1.json")
    with pytest.raises(Refusal, match=r"jsts-v1.1 has no file valid\*.json or dev\*.json; .* one version of JSTS"):
        find_files(one, jsts)
    touch(tmp_path / "jsts-v1.3")
    with pytest.raises(Refusal, match=r"has jsts-v1.1/, jsts-v1.3/; name one of them"):
        find_files(str(tmp_path), jsts)
    touch(tmp_path / "jsts-v1.1", "train-v1.2.json", "valid.json")
    with pytest.raises(Refusal, match=r"has 2 files train\*.json"):
        find_files(one, jsts)
