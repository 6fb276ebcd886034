"""`make bench` in its quick size: every row beside its yardstick, equal outputs, a table, JSON and pictures."""

import json
import os
import re
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from tests.bench.command import bench

# What is measured, and what it must reach: the figures that the README promises.
ROWS = {
    "words of sentences": (120, "≥"),
    "sentences to ids, 1,000 at a time, wordpiece": (25, "≥"),
    "sentences to ids, 1,000 at a time, character": (25, "≥"),
    "sentences to ids, one by one, wordpiece": (1, "≥"),
    "sentences to ids, one by one, character": (1, "≥"),
    "made and called first, wordpiece": (0.5, "≤"),
    "made and called first, character": (0.5, "≤"),
    "examples written": (200, "≥"),
    "memory of a worker": (400e6, "≤"),
    "gzip of records": None,
    "examples read, one core": (1, "≥"),
    "a step, character tiny": (2, "≥"),
    "clean sentences of a dump": (6, "≥"),
    "lines of a dump parsed": None,
}
# Both sides make the same thing, so it can be compared; the other yardsticks are rates and limits.
COMPARED = {*ROWS, "a step, character tiny, in float32"} - {"examples written", "memory of a worker"}


@pytest.fixture(scope="module")
def quick(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A quick run: its folder, and what it printed."""
    out = tmp_path_factory.mktemp("bench")
    return out, bench("scripts.bench", "--quick", "--out", out).stdout


@pytest.fixture(scope="module")
def results(quick: tuple[Path, str]) -> Any:
    return json.loads((quick[0] / "results.json").read_text(encoding="utf-8"))


def test_every_row_has_its_figures_and_its_yardstick(results: Any) -> None:
    rows = {row["name"]: row for row in results["rows"]}
    vocabularies = [name for name in rows if re.fullmatch(r"vocabularies of [\d,]+ lines", name)]
    assert len(vocabularies) == 1
    several_cores = len(os.sched_getaffinity(0)) > 1
    more = [*vocabularies, *(["two workers", "examples read, two cores"] if several_cores else [])]
    # Where `train` takes bfloat16 by itself.
    more += {"a step, character tiny, in float32"} & set(rows)
    assert set(rows) == {*ROWS, *more}
    for name, bar in {**ROWS, vocabularies[0]: (10, "≥")}.items():
        row = rows[name]
        assert (row["bar"] and (row["bar"]["number"], row["bar"]["sign"])) == bar
        for side in filter(None, (row["ours"], row["yardstick"])):
            assert all(side[part] > 0 for part in ("value", "cpu_seconds", "wall_seconds", "peak_memory"))
            assert 5e6 < side["peak_memory"] < 4e9
        if name != "memory of a worker":
            assert row["ratio"] > 0
            assert row["yardstick_name"]


def test_a_ratio_is_better_when_it_is_greater(results: Any) -> None:
    for row in results["rows"]:
        if row["ratio"]:
            ours, yardstick = row["ours"]["value"], row["yardstick"]["value"]
            times = yardstick / ours if row["unit"].startswith("seconds") else ours / yardstick
            assert row["ratio"] == pytest.approx(times)


def test_both_sides_made_the_same(results: Any) -> None:
    for row in results["rows"]:
        if row["name"] in COMPARED or row["name"] == "two workers":
            assert row["equal"] is True, row["name"]


def test_it_says_what_was_measured_where(results: Any, quick: tuple[Path, str]) -> None:
    assert results["size"] == "quick"
    assert results["extrapolation"] is None, "too small to tell anything of Wikipedia"
    assert results["data"] in quick[1]
    assert results["machine"]["cores"] >= 1
    assert results["machine"]["memory"] > 1e8
    assert results["machine"]["processor"] in quick[1]
    for stage in ("corpus", "vocab", "tfrecords", "tokenizer"):
        assert results["versions"][stage]["python"].startswith("3.11.")
    assert results["versions"]["tokenizer"]["tinysegmenter3"] == "0.1.0"


def test_the_table_is_aligned_and_complete(results: Any, quick: tuple[Path, str]) -> None:
    lines = [line for line in quick[1].splitlines() if line.startswith("|")]
    assert len({len(line) for line in lines}) == 1
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    assert cells[0][:5] == ["stage", "what", "unit", "here", "yardstick"]
    assert [row[1] for row in cells[2:]] == [row["name"] for row in results["rows"]]


def test_the_pictures(quick: tuple[Path, str], results: Any) -> None:
    out = quick[0]
    assert (out / "speed.png").read_bytes().startswith(b"\x89PNG")
    assert (out / "speed.png").stat().st_size > 20_000
    drawn = ElementTree.parse(out / "speed.svg").getroot()
    assert drawn.tag == "{http://www.w3.org/2000/svg}svg"
    assert len(list(drawn.iter("{http://www.w3.org/2000/svg}path"))) > 2 * len(results["rows"])
    assert sorted(path.name for path in out.iterdir()) == ["results.json", "speed.png", "speed.svg"]


def test_only_some_rows(tmp_path: Path) -> None:
    bench("scripts.bench", "--quick", "--only", "words", "--out", tmp_path)
    rows = json.loads((tmp_path / "results.json").read_text(encoding="utf-8"))["rows"]
    assert [row["group"] for row in rows] == ["words"]


def test_rows_that_are_not_there_are_refused(tmp_path: Path) -> None:
    done = bench("scripts.bench", "--only", "words,speed", "--out", tmp_path, code=2)
    assert "--only speed is none of words, tokenizer, tfrecords, records, training, corpus, vocab" in done.stderr
    assert "Traceback" not in done.stderr
