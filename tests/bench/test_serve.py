"""`make bench-serve` in its quick size: every row with its bar, answers checked, JSON and pictures."""

import json
import subprocess
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from tests.bench.command import bench

# Number, sign, and whether it is the value itself that is held against it. None: reported, without a bar.
ROWS = {
    "image above its Python base": (300e6, "≤", True),
    "packages of the environment": None,
    "docker run … tokenize, a line": (2.5, "≤", False),
    "tokenize, a line, without Docker": None,
    "tokenize, character": (40, "≥", False),
    "tokenize, wordpiece": (40, "≥", False),
    **{
        f"{what}, {kind}": None
        for what in ("encode to JSON lines", "decode of ids")
        for kind in ("character", "wordpiece")
    },
    "encode, one sentence, 32 connections": (0.5, "≥", False),
    "tokenize, one sentence, 32 connections": None,
    "fill-mask, one sentence, 32 connections": None,
    "masks filled, character tiny": (1.5, "≥", False),
    "answers that are 5xx, and bugs in the log": (0, "≤", True),
    "memory of the service": None,  # Six seconds tell nothing of its growth.
    **{f"99 % of a valid /v1/{what} answered within": None for what in ("tokenize", "encode", "decode", "fill-mask")},
    "99 % of all requests answered within": None,
    "/healthz beside hostile bodies": (0.5, "≤", True),
    "an answer to a hostile body": (30, "≤", True),
    "memory of the service with hostile bodies": (500e6, "≤", True),
}
NEEDS_AN_IMAGE = {"image above its Python base", "docker run … tokenize, a line"}


@pytest.fixture(scope="module")
def quick(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any, "subprocess.CompletedProcess[str]"]:
    """A quick run: its folder, its JSON, and what it printed."""
    out = tmp_path_factory.mktemp("bench-serve")
    done = bench("scripts.bench.serve", "--quick", "--out", out, needs=("convert", "tokenizer", "serve"))
    return out, json.loads((out / "serve.json").read_text(encoding="utf-8")), done


@pytest.fixture(scope="module")
def rows(quick: tuple[Path, Any, Any]) -> dict[str, Any]:
    return {row["name"]: row for row in quick[1]["rows"]}


def test_every_row_has_its_bar_and_a_figure(rows: dict[str, Any]) -> None:
    assert set(rows) == set(ROWS)
    for name, bar in ROWS.items():
        row = rows[name]
        assert (row["bar"] and (row["bar"]["number"], row["bar"]["sign"], row["bar"]["of_value"])) == bar
        if name in NEEDS_AN_IMAGE:
            assert row["ours"] is None
            assert row["holds"] is None
            assert "not measured" in row["note"]
        elif name.startswith("answers that"):
            assert row["ours"]["value"] == 0, row["note"]
        else:
            assert row["ours"]["value"] > 0
        if row["bar"] and not row["bar"]["of_value"] and row["ours"]:
            assert row["ratio"] == pytest.approx(row["ours"]["value"] / row["yardstick"]["value"])


def test_the_answers_were_as_they_must_be(rows: dict[str, Any]) -> None:
    assert rows["masks filled, character tiny"]["equal"] is True
    assert not [name for name, row in rows.items() if row["equal"] is False]
    soak = rows["answers that are 5xx, and bugs in the log"]["facts"]
    assert soak["wrong"] == []
    assert soak["bugs"] == []
    by_status = {status for counts in soak["counts"].values() for status in counts}
    assert {"200", "404", "422"} <= by_status <= {"200", "307", "404", "405", "413", "415", "422", "left"}
    assert len(soak["memory"]) >= 4
    assert all(size > 5e7 for _, size in soak["memory"])
    assert sum(window["requests"] for window in soak["windows"] if window) == soak["all"]["requests"] > 50


def test_the_load_is_not_what_is_measured(rows: dict[str, Any]) -> None:
    for name in ("encode", "tokenize", "fill-mask"):
        facts = rows[f"{name}, one sentence, 32 connections"]["facts"]
        assert 0 < facts["p50_ms"] <= facts["p99_ms"]
        assert facts["busy"] < 0.95


def test_the_table_the_pictures_and_what_was_measured_where(quick: tuple[Path, Any, Any]) -> None:
    out, told, done = quick
    lines = [line for line in done.stdout.splitlines() if line.startswith("|")]
    assert len({len(line) for line in lines}) == 1
    assert [line.split("|")[2].strip() for line in lines[2:]] == [row["name"] for row in told["rows"]]
    assert told["size"] == "quick"
    assert told["machine"]["processor"] in done.stdout
    assert told["versions"]["tokenizer"]["onnxruntime"]
    assert told["versions"]["convert"]["torch"]
    for name in ("serve", "soak"):
        assert (out / f"{name}.png").read_bytes().startswith(b"\x89PNG")
        assert ElementTree.parse(out / f"{name}.svg").getroot().tag == "{http://www.w3.org/2000/svg}svg"
    made = ["serve.json", "serve.png", "serve.svg", "soak.png", "soak.svg"]
    assert sorted(path.name for path in out.iterdir()) == made


def test_rows_that_are_not_there_are_refused(tmp_path: Path) -> None:
    done = bench(
        "scripts.bench.serve", "--only", "speed", "--out", tmp_path, code=2, needs=("convert", "tokenizer", "serve")
    )
    assert "speed" in done.stderr
    assert "Traceback" not in done.stderr
