"""One file → the training set and the dev set."""

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from stages.command.refusal import Refusal
from stages.finetune.data import read_data, split
from stages.finetune.examples import TaskData
from stages.finetune.tasks import TASKS
from tests.finetune.samples import JSICK, sentence, write_table


def test_one_group_in_ten_is_measured_on() -> None:
    groups = [f"{n // 2}" for n in range(2000)]
    train, dev = split((group, row) for row, group in enumerate(groups))
    assert len(dev) == 206
    assert sorted(train + dev) == list(range(2000))
    assert not {groups[row] for row in train} & {groups[row] for row in dev}, "a group is in both parts"
    assert dev[:6] == [0, 1, 14, 15, 18, 19]
    assert int(hashlib.sha256(b"9").hexdigest()[:16], 16) % 10 == 0


def table_data(folder: Path, *data: str) -> TaskData[Any]:
    path = str(folder / "jsick.tsv")
    write_table(folder / "jsick.tsv", [{**row, "data": part} for row, part in zip(JSICK, data, strict=False)])
    return read_data(path, path, TASKS["jsick"])


def test_the_column_data_decides(tmp_path: Path) -> None:
    data = table_data(tmp_path, "train", "trial", "test", "train", "")
    firsts = [[example.texts[0] for example in part] for part in (data.train, data.dev)]
    assert firsts == [[JSICK[n]["sentence_A_Ja"] for n in rows] for rows in ([0, 3, 4], [1])]
    assert data.rule == "The file's column data names the rows to measure on: trial."


def test_sentences_of_a_page_stay_together(tmp_path: Path) -> None:
    path = tmp_path / "ner.json"
    path.write_text(json.dumps([sentence(page, f"林{n}", 人名="林") for page in range(10) for n in range(2)]))
    data = read_data(str(path), str(path), TASKS["ner"])
    assert [each.group for each in data.dev] == ["0", "0", "7", "7", "9", "9"]
    assert len(data.train) == 14
    assert data.rule == "Both parts are from one file: one in 10 of its pages, by SHA-256, is measured on."


def test_two_files_are_taken_whole(tmp_path: Path) -> None:
    for name in ("train", "valid"):
        write_table(tmp_path / f"{name}.tsv", [{**row, "data": "test"} for row in JSICK])
    data = read_data(f"{tmp_path}/train.tsv", f"{tmp_path}/valid.tsv", TASKS["jsick"])
    assert (len(data.train), len(data.dev), data.rule) == (8, 8, "")


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (["dev"], "a cell of the column data is dev; it must be train, trial, test or empty"),
        (["trial", "test"], r"leaves no examples to learn from; give two files, train\*.tsv and valid\*"),
        (["test"], "leaves no examples to learn from"),
        (["train"], "leaves no examples to measure on"),
    ],
)
def test_a_file_that_gives_one_part_only_is_refused(tmp_path: Path, data: list[str], words: str) -> None:
    with pytest.raises(Refusal, match=words):
        table_data(tmp_path, *data)
