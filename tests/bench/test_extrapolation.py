"""The rows of a run → Wikipedia, worked out by hand."""

import pytest

from scripts.bench.extrapolation import extrapolate, lines
from scripts.bench.rows import Bar, Row
from scripts.bench.running import Figure


def figure(value: float) -> Figure:
    return Figure(value, 1, 1, 10**7)


CORPUS = Row(
    "corpus", "clean sentences of a dump", "", figure(14e6), figure(2e6), "plain", Bar("≥", 6),
    facts={"bytes_per_character": 2.8},
)  # fmt: skip
EXAMPLES = Row(
    "tfrecords", "examples written", "", figure(40_000), figure(200), "published", Bar("≥", 200),
    facts={"examples_per_character": 0.16, "bytes_per_example": 500},
)  # fmt: skip
TWO = Row("tfrecords", "two workers", "seconds", figure(5), figure(9), "one worker", Bar("≥", 1.8), inverse=True)
VOCAB = Row("vocab", "vocabularies", "", figure(20), figure(400), "python", facts={"lines": 1_000_000})


def test_wikipedia_from_the_figures_of_a_run() -> None:
    result = extrapolate([CORPUS, EXAMPLES, TWO, VOCAB])
    assert result is not None
    # 4.9 GB at 2.8 bytes are 1.75 G characters, 280 M examples; 8 cores at 90 %.
    assert result["characters"] == pytest.approx(1.75e9)
    assert result["examples"] == pytest.approx(280e6)
    assert result["gigabytes"] == pytest.approx(140)
    assert result["stages"]["corpus"] == pytest.approx({"ours": 125, "yardstick": 875})
    assert result["stages"]["tfrecords"] == pytest.approx(
        {"ours": 280e6 / 40e3 / 8 / 0.9, "yardstick": 280e6 / 200 / 8}
    )
    assert result["stages"]["vocab"] == pytest.approx({"ours": 60, "yardstick": 1200})
    text = "\n".join(lines(result))
    assert "16 min 12 s" in text
    assert "48 h 36 min" in text


def test_rows_that_are_missing_give_no_extrapolation() -> None:
    assert extrapolate([CORPUS, TWO]) is None
    assert extrapolate([EXAMPLES, VOCAB]) is None


@pytest.mark.parametrize(
    ("bar", "value", "equal", "holds"),
    [
        (Bar("≥", 6), 12.0, True, True),
        (Bar("≥", 6), 11.98, True, False),
        (Bar("≥", 6), 120.0, False, False),
        (Bar("≥", 6), 120.0, None, True),
        (Bar("≤", 400e6, of_value=True), 4e8, None, True),
        (Bar("≤", 400e6, of_value=True), 4.1e8, None, False),
        (None, 1, True, True),
        (None, 1, False, False),
        (None, 1, None, None),
    ],
)
def test_whether_a_bar_holds(bar: Bar | None, value: float, equal: bool | None, holds: bool | None) -> None:
    assert Row("words", "", "", figure(value), figure(2), "", bar, equal).holds is holds


def test_an_inverse_ratio_is_the_yardstick_divided_by_ours() -> None:
    assert Row("words", "", "characters", figure(8), figure(2)).ratio == 4
    assert Row("words", "", "seconds", figure(2), figure(8), inverse=True).ratio == 4
