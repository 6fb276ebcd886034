"""The pure parts of an evaluation: intervals, calibration, kinds of entries, samples, figures."""

import math
import random

import numpy as np
import pytest

from stages.estimates import Ratios, exponential, share, wilson
from stages.evaluate.kinds import continues_word, kind
from stages.evaluate.scores import Calibration
from stages.evaluate.summary import interval, number, percent


def test_a_ratio_is_that_of_the_sums_however_the_units_come() -> None:
    draw = np.random.default_rng(1)
    w = draw.integers(1, 5, (40, 1)).astype(float)
    x = draw.random((40, 1)) * w
    whole, parts = Ratios((1,)), Ratios((1,))
    whole.add(x, w)
    for first in range(0, 40, 7):
        parts.add(x[first : first + 7], w[first : first + 7])
    estimate = whole.estimate(0)
    assert estimate["value"] == pytest.approx(x.sum() / w.sum())
    assert parts.estimate(0) == pytest.approx(estimate)
    # With weights of 1 it is the mean, and its usual standard error.
    plain = Ratios((1,))
    plain.add(x, np.ones_like(x))
    error = 1.959964 * x.std(ddof=1) / math.sqrt(40)
    assert plain.estimate(0) == pytest.approx({"value": x.mean(), "low": x.mean() - error, "high": x.mean() + error})


def test_nineteen_of_twenty_intervals_hold_the_truth_where_the_tokens_of_an_example_go_together() -> None:
    draw = np.random.default_rng(2)
    held = 0
    for _ in range(1000):
        tokens = draw.integers(5, 20, (60, 1)).astype(float)
        of_example = draw.beta(2, 3, (60, 1))  # mean 0.4
        ratios = Ratios((1,))
        ratios.add(draw.binomial(tokens.astype(int), of_example).astype(float), tokens)
        estimate = ratios.estimate(0)
        held += estimate["low"] <= 0.4 <= estimate["high"]
    assert 920 <= held <= 970


def test_nothing_weighed_is_no_number_and_one_unit_has_no_interval() -> None:
    ratios = Ratios((2,))
    ratios.add(np.array([[3.0, 0.0]]), np.array([[4.0, 0.0]]))
    assert ratios.estimate(0) == {"value": 0.75, "low": None, "high": None}
    assert ratios.estimate(1) == {"value": None, "low": None, "high": None}
    assert share({"value": 0.9, "low": 0.7, "high": 1.1}, 50)["high"] == 1
    # None of ten right is not known to be none at all.
    none = share({"value": 0.0, "low": 0.0, "high": 0.0}, 10)
    assert [none["low"], none["high"]] == pytest.approx([0, 0.2775], abs=1e-4)
    assert exponential({"value": 0.0, "low": None, "high": 1000.0}) == {"value": 1.0, "low": None, "high": None}


def test_wilsons_interval_is_that_of_the_books() -> None:
    assert wilson(0, 10) == pytest.approx((0, 0.2775), abs=1e-4)
    assert wilson(5, 10) == pytest.approx((0.2366, 0.7634), abs=1e-4)


def test_predictions_that_come_true_as_often_as_they_say_have_no_error() -> None:
    calibration = Calibration()
    for predicted in (0.05, 0.25, 0.55, 1.0):
        right = np.arange(100) < round(100 * predicted)
        calibration.add(np.full((100,), predicted), right)
    result = calibration.as_json()
    assert result["expected_calibration_error"] == pytest.approx(0, abs=1e-12)
    assert [(one["from"], one["count"]) for one in result["bins"]] == [(0, 100), (0.2, 100), (0.5, 100), (0.9, 100)]
    assert result["bins"][1]["frequency"]["value"] == pytest.approx(0.25)


def test_the_calibration_error_weighs_each_bin_by_its_predictions() -> None:
    calibration = Calibration()
    calibration.add(np.full((3, 10), 0.95), np.zeros((3, 10), bool))  # 30 that never come true
    calibration.add(np.full(10, 0.4), np.arange(10) < 5)
    assert calibration.as_json()["expected_calibration_error"] == pytest.approx((30 * 0.95 + 10 * 0.1) / 40)
    assert Calibration().as_json() == {"expected_calibration_error": None, "predictions": 0, "bins": []}


@pytest.mark.parametrize(
    ("entries", "expected"),
    [
        ("漢 々 〆 〇 ##字 大学", "kanji"),
        ("あ ##する ゝ", "hiragana"),
        ("ア ー ヶ ##タ センター", "katakana"),
        ("A z 7 2024 ##km ａ Ω", "letters and digits"),
        ("。 、 ・ 「 % ( ＝ 〜 ##", "punctuation"),
        ("食べ お茶 第3", "mixed"),
        ("[UNK] [MASK]", "other"),
    ],
)
def test_every_entry_has_a_kind(entries: str, expected: str) -> None:
    assert {entry: kind(entry) for entry in entries.split()} == dict.fromkeys(entries.split(), expected)


def test_a_space_is_punctuation_and_a_lone_mark_continues_no_word() -> None:
    assert kind(" ") == "punctuation"
    assert [continues_word(entry) for entry in ("##字", "##", "字")] == [True, False, False]


def test_figures_have_the_digits_that_matter() -> None:
    assert [number(value) for value in (0.12345, 4.567, 123.45, 1234.5, -0.5, None)] == [
        "0.123", "4.57", "123.5", "1,234", "−0.500", "–",
    ]  # fmt: skip
    assert percent(0.1234) == "12.3 %"
    assert percent(-0.01, signed=True) == "−1.0 %"
    assert interval({"value": 0.2, "low": 0.1, "high": 0.3}, percent) == "10.0 % to 30.0 %"
    assert interval({"value": 0.2, "low": None, "high": None}) == ""


def test_bins_hold_every_probability() -> None:
    draw = random.Random(3)
    values = np.array([0.0, 0.1, 0.3, 0.7, 1.0, *(draw.random() for _ in range(1000))])
    calibration = Calibration()
    calibration.add(values, values > 2)
    assert calibration.as_json()["predictions"] == len(values)
    for one in calibration.as_json()["bins"]:
        assert one["from"] <= one["predicted"] <= one["to"]
