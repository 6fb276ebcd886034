"""The evaluation's real command: its numbers against a slow computation, its page, its refusals."""

import json
import shutil
from collections import defaultdict
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest

from tests.evaluate.conftest import LIMITS, STAGE, TWICE, Evaluation, Inputs, Run, evaluate, read


@pytest.fixture(scope="session")
def slow(train_python: Run, inputs: Inputs, evaluation: Evaluation) -> dict[str, Any]:
    """The same numbers, computed one position after another. The sentences are those that the page shows."""
    held_out, training = sorted(inputs.tfrecords.glob("*.gz"))[-1], sorted(inputs.tfrecords.glob("*.gz"))[0]
    texts = ["".join(token for token, _ in tokens) for tokens in evaluation.report["token_losses"]]
    script = Path(__file__).parent / "slow.py"
    stdout = train_python(script, inputs.model, held_out, training, 30, 50, json.dumps(texts)).stdout
    numbers: dict[str, Any] = json.loads(stdout)
    return numbers


def values(part: dict[str, Any]) -> list[float]:
    return [part[name]["value"] for name in ("loss", "accuracy", "top_5_accuracy")]


def test_masked_lm_scores_are_those_of_a_slow_computation(evaluation: Evaluation, slow: dict[str, Any]) -> None:
    rows, (everything, *parts) = slow["rows"], evaluation.report["masked_lm"]
    means = np.mean([row[2:] for row in rows], 0)
    assert everything["masked_tokens"] == len(rows) > 200
    assert values(everything["model"]) == pytest.approx(means[:3], rel=1e-4)
    assert values(everything["unigram"]) == pytest.approx(means[3:6], rel=1e-4)
    assert values(everything["neighbours"]) == pytest.approx(means[6:], rel=1e-4)
    assert everything["neighbours"]["loss"]["value"] < everything["unigram"]["loss"]["value"]
    assert 0 < everything["model"]["accuracy"]["value"] < everything["model"]["top_5_accuracy"]["value"]
    differences = [everything["model minus unigram"][name]["value"] for name in ("loss", "accuracy")]
    assert differences == pytest.approx((means[:3] - means[3:6])[:2], rel=1e-3, abs=1e-5)

    treated = defaultdict(list)
    for row in rows:
        treated[row[0]].append(row[2:5])
    assert set(treated) == {"[MASK]", "kept", "random"}
    for part in parts:
        if part["by"] == "treatment":
            assert part["masked_tokens"] == len(treated[part["part"]])
            assert values(part["model"]) == pytest.approx(np.mean(treated[part["part"]], 0), rel=1e-4)
    hiragana = [row[2:5] for row in rows if "ぁ" <= row[1] <= "ゖ"]
    [part] = [part for part in parts if part["part"] == "hiragana"]
    assert values(part["model"]) == pytest.approx(np.mean(hiragana, 0), rel=1e-4)
    assert sum(part["masked_tokens"] for part in parts if part["by"] == "kind") == len(rows)


def test_sentence_order_scores_are_those_of_a_slow_computation(evaluation: Evaluation, slow: dict[str, Any]) -> None:
    loss, accuracy = np.mean(slow["order"], 0)
    order = evaluation.report["sentence_order"]
    assert order["examples"] == len(slow["order"]) == 30
    assert order["model"]["loss"]["value"] == pytest.approx(loss, rel=1e-4)
    assert order["model"]["accuracy"]["value"] == pytest.approx(accuracy, rel=1e-4)
    assert 0 < order["swapped"]["value"] < 1


def test_pseudo_perplexity_is_that_of_one_mask_after_another(
    evaluation: Evaluation, slow: dict[str, Any], corpus: Path
) -> None:
    pseudo, tokens = evaluation.report["pseudo_perplexity"], slow["pseudo"]["tokens"]
    assert pseudo["model"]["tokens"] == tokens
    loss = slow["pseudo"]["losses"] / tokens
    assert pseudo["model"]["loss"]["value"] == pytest.approx(loss, rel=1e-4)
    assert pseudo["model"]["pseudo_perplexity"]["value"] == pytest.approx(np.exp(loss), rel=1e-3)
    for name in ("unigram", "neighbours"):
        assert pseudo[name]["loss"]["value"] == pytest.approx(slow["pseudo"][name] / tokens, rel=1e-4)
    # One token a character here.
    bits = loss / np.log(2) * tokens / evaluation.report["data"]["characters"]
    assert pseudo["model"]["bits_per_character"]["value"] == pytest.approx(bits, rel=1e-4)
    held_out = sorted(corpus.glob("*.txt"))[-1].read_text(encoding="utf-8").split("\n")
    for tokens_of in evaluation.report["token_losses"]:
        assert "".join(token for token, _ in tokens_of) in held_out


def test_another_model_of_the_vocabulary_predicts_the_same_tokens(evaluation: Evaluation) -> None:
    for row in evaluation.report["masked_lm"]:
        if row["masked_tokens"]:
            difference = row["model"]["loss"]["value"] - row["other"]["loss"]["value"]
            assert row["model minus other"]["loss"]["value"] == pytest.approx(difference, abs=1e-4)
    assert evaluation.report["sentence_order"]["other"] != evaluation.report["sentence_order"]["model"]
    assert len(evaluation.report["filled"]["other"]) == len(evaluation.report["filled"]["model"]) >= 14


def test_windows_are_those_of_the_efficient_recipe(evaluation: Evaluation, slow: dict[str, Any]) -> None:
    windows, means = evaluation.report["masked_windows"], np.mean(slow["windows"], 0)
    assert (windows["tokens"], windows["masked_share"]) == (64, 0.15)
    assert windows["masked_tokens"] == len(slow["windows"]) > 200
    assert values(windows["model"]) == pytest.approx(means[:3], rel=1e-4)
    assert values(windows["neighbours"]) == pytest.approx(means[3:], rel=1e-4)


def test_a_right_answer_of_a_cloze_sentence_is_counted_and_marked(evaluation: Evaluation) -> None:
    sentences = [one for one in evaluation.report["filled"]["model"] if one["kind"]]
    assert [one["kind"] for one in sentences[::10]] == ["place", "nature", "counter", "grammar", "phrase"]
    assert sentences[8]["before"] + "/".join(sentences[8]["answers"]) == "大阪城/市/府/駅/湾"
    right = [[word in one["answers"] for word, _, _ in one["words"]] for one in sentences]
    assert right == [[marked for _, _, marked in one["words"]] for one in sentences]
    total, *parts = evaluation.report["cloze"]["model"]
    assert total["sentences"] == 50
    assert total["first"]["count"] == sum(each[0] for each in right) > 0
    assert total["among_five"]["count"] == sum(map(any, right)) >= total["first"]["count"]
    for number, part in enumerate(parts):
        assert (part["kind"], part["sentences"]) == (sentences[10 * number]["kind"], 10)
        assert part["first"]["count"] == sum(each[0] for each in right[10 * number : 10 * number + 10])
    filled = evaluation.report["filled"]
    marks = sum(marked for name in filled for one in filled[name] for _, _, marked in one["words"])
    assert evaluation.page.count(" ✓</dt>") == marks


def test_calibration_is_of_the_same_predictions(evaluation: Evaluation, slow: dict[str, Any]) -> None:
    calibration = evaluation.report["calibration"]
    count, right = len(slow["rows"]), np.sum([row[2:5] for row in slow["rows"]], 0)
    for name, predictions, came_true in (
        ("first", count, right[1]),
        ("each_of_five", 5 * count, right[2]),
        ("five_together", count, right[2]),
    ):
        bins = calibration[name]["bins"]
        assert calibration[name]["predictions"] == sum(one["count"] for one in bins) == predictions
        assert sum(one["count"] * one["frequency"]["value"] for one in bins) == pytest.approx(came_true, rel=1e-3)


class Page(HTMLParser):
    """Every tag that is open must be closed in turn."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.open.append(tag)
        self.seen.append((tag, dict(attributes)))

    def handle_startendtag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attributes)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_page_is_whole_and_needs_nothing_else(evaluation: Evaluation) -> None:
    page = Page()
    page.feed(evaluation.page)
    page.close()
    assert page.open == []
    tags = {tag for tag, _ in page.seen}
    assert {"h1", "table", "caption", "svg", "dl", "details"} <= tags
    assert not tags & {"script", "link", "img", "iframe", "object"}
    for word in ("http:", "https:", "url(", "@import", "src="):
        assert word not in evaluation.page
    for tag, attributes in page.seen:
        assert tag != "th" or attributes["scope"] in ("col", "row", "rowgroup")
        assert tag != "svg" or attributes["aria-label"]
    accuracy = evaluation.report["masked_lm"][0]["model"]["accuracy"]["value"]
    assert f"<b>{100 * accuracy:.1f} %</b>" in evaluation.page
    assert "日本で一番高い" in evaluation.page
    svg = ElementTree.parse(evaluation.out / "calibration.svg").getroot()
    bins = sum(len(one["bins"]) for one in evaluation.report["calibration"].values())
    assert len(svg.findall(".//{*}use")) == bins == evaluation.page.count("<use ")


def test_a_table_is_printed(evaluation: Evaluation) -> None:
    lines = evaluation.stdout.splitlines()
    accuracy = evaluation.report["masked_lm"][0]["model"]["accuracy"]["value"]
    assert any(line.startswith("masked LM accuracy") and f"{100 * accuracy:.1f} %" in line for line in lines)
    assert lines[-1].endswith("tokens of 4 held-out sentences")


def test_the_same_command_says_finished_and_a_changed_model_is_refused(
    train_python: Run, inputs: Inputs, evaluation: Evaluation
) -> None:
    before = {path: path.read_bytes() for path in evaluation.out.iterdir()}
    assert "is finished already" in train_python(*evaluation.arguments).stderr
    arguments = [inputs.same_vocabulary if argument == inputs.model else argument for argument in evaluation.arguments]
    assert "was made with other options or inputs: inputs.model" in train_python(*arguments, code=2).stderr
    assert {path: path.read_bytes() for path in evaluation.out.iterdir()} == before
    manifest = json.loads((evaluation.out / "manifest.json").read_text())
    assert set(manifest["files"]) == {"evaluation.json", "report.html", "calibration.svg"}


def test_a_model_of_another_vocabulary_is_compared_by_characters_and_text_is_escaped(
    train_python: Run, inputs: Inputs, tmp_path: Path
) -> None:
    model = tmp_path / "<b>&" / "tiny"
    shutil.copytree(inputs.model, model)
    arguments = ["--model", model, "--tfrecords", inputs.tfrecords, "--compare", inputs.wordpiece]
    train_python("-c", TWICE, tmp_path / "first", tmp_path / "second", *arguments, *LIMITS)
    first = read(tmp_path / "first", [], "")
    report = first.report
    assert "other" not in report["masked_lm"][0]
    assert report["other"]["vocabulary_of_tfrecords"] is False
    tokens = {name: report["pseudo_perplexity"][name]["tokens"] for name in ("model", "other")}
    assert tokens["other"] < tokens["model"]
    # Words have gaps of their own, and an entry counts without its `##`.
    gap, *_ = words = report["filled"]["other"]
    assert (gap["before"], gap["answers"], gap["after"]) == ("日本の首都は", ["東京"], "である。")
    for one in words:
        assert [marked for _, _, marked in one["words"]] == [
            word.removeprefix("##") in one["answers"] for word, _, _ in one["words"]
        ]
    other = report["pseudo_perplexity"]["other"]
    bits = other["loss"]["value"] / np.log(2) * tokens["other"] / report["data"]["characters"]
    assert other["bits_per_character"]["value"] == pytest.approx(bits, rel=1e-4)
    assert report["data"]["sentences_of"] == "tfrecords"
    assert "<b>&" not in first.page
    assert "&lt;b&gt;&amp;/tiny" in first.page
    # And the same inputs give the same bytes.
    for name in ("evaluation.json", "report.html", "calibration.svg", "manifest.json"):
        assert (first.out / name).read_bytes() == (tmp_path / "second" / name).read_bytes()


def record_held_out(model: Path, tfrecords: Path, count: int, changed: str = "") -> None:
    """The manifest that convert writes, of a model whose training held out the last `count` files."""
    files = json.loads((tfrecords / "manifest.json").read_text())["files"]
    names = sorted(name for name in files if name.endswith(".gz"))[-count:]
    held_out = {name: files[name]["sha256"] + changed for name in names}
    manifest = {
        "stage": "convert",
        "files": {"vocab.txt": {}},
        "inputs": {"provenance": {"training": {"held_out": held_out}}},
    }
    (model / "manifest.json").write_text(json.dumps(manifest))


def test_what_training_held_out_is_measured_by_the_record_of_the_model(
    train_python: Run, inputs: Inputs, evaluation: Evaluation, tmp_path: Path
) -> None:
    """Two of three files; with no option the last 1 %, one file, would be taken."""
    assert evaluation.report["data"]["held_out_files"] == 1
    assert "has no record of the files" in evaluation.report["warning"]
    model = tmp_path / "model"
    shutil.copytree(inputs.model, model)
    record_held_out(model, inputs.tfrecords, 2)
    (model / "vocab.txt").unlink()
    (model / "vocab.txt").symlink_to(inputs.model / "vocab.txt")
    given = ("--model", model, "--tfrecords", inputs.tfrecords)
    recorded = evaluate(train_python, tmp_path / "recorded", *given)
    assert (recorded.report["data"]["held_out_files"], recorded.report["warning"]) == (2, "")
    record_held_out(model, inputs.tfrecords, 2, changed="0")
    other = evaluate(train_python, tmp_path / "other", *given)
    assert "was trained on other TFRecords" in other.report["warning"]
    assert "was trained on other TFRecords" in other.page


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("vocabulary", "was made with another vocabulary than"),
        ("no weights", "it has no model.safetensors"),
        ("damaged weights", "model.safetensors is damaged"),
        ("no folder", "there is no model folder"),
        ("no manifest", "was not written by tfrecords"),
        ("another corpus", "was not made of the corpus"),
        ("all held out", "so none is left to train on"),
        ("short positions", "has examples of 64 tokens, and"),
        ("trained on", "--held-out 2 takes files that"),
    ],
)
def test_what_cannot_be_evaluated_is_refused_in_one_line(
    train_python: Run, inputs: Inputs, tmp_path: Path, change: str, message: str
) -> None:
    model, tfrecords = tmp_path / "model", tmp_path / "tfrecords"
    shutil.copytree(inputs.wordpiece if change == "vocabulary" else inputs.model, model)
    shutil.copytree(inputs.tfrecords, tfrecords)
    more: list[object] = []
    if change == "no weights":
        (model / "model.safetensors").unlink()
    elif change == "damaged weights":
        whole = (model / "model.safetensors").read_bytes()
        (model / "model.safetensors").write_bytes(whole[:-1000])
    elif change == "no folder":
        shutil.rmtree(model)
    elif change == "no manifest":
        (tfrecords / "manifest.json").unlink()
    elif change == "another corpus":
        shutil.copytree(inputs.corpus, tmp_path / "corpus")
        with open(tmp_path / "corpus" / "manifest.json", "a") as stream:
            stream.write("\n")
        more = ["--corpus", tmp_path / "corpus"]
    elif change == "all held out":
        more = ["--held-out", 3]
    elif change == "trained on":
        record_held_out(model, tfrecords, 1)
        more = ["--held-out", 2]
    elif change == "short positions":
        config = json.loads((model / "config.json").read_text())
        (model / "config.json").write_text(json.dumps({**config, "max_position_embeddings": 32}))
    out = tmp_path / "out"
    done = train_python(*STAGE, "--model", model, "--tfrecords", tfrecords, "--out", out, *more, *LIMITS, code=2)
    assert message in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not out.exists()
