"""The rows of a run → Wikipedia, worked out by hand."""

import pytest

from scripts.bench.extrapolation import extrapolate, lines
from scripts.bench.rows import Bar, Figure, Row


def figure(value: float) -> Figure:
    return Figure(value, 1, 1, 10**7)


CORPUS = Row(
    "corpus", "clean sentences of a dump", "", figure(14e6), figure(2e6), "plain", 7, Bar("≥", 6),
    facts={"bytes_per_character": 2.8},
)  # fmt: skip
EXAMPLES = Row(
    "tfrecords", "examples written", "", figure(40_000), figure(200), "published", 200, Bar("≥", 200),
    facts={"examples_per_character": 0.16, "bytes_per_example": 500},
)  # fmt: skip
TWO = Row("tfrecords", "two workers", "", figure(5), figure(9), "one worker", 1.8, Bar("≥", 1.8))
VOCAB = Row("vocab", "vocabularies", "", figure(20), figure(400), "python", 20, facts={"lines": 1_000_000})


def test_wikipedia_from_the_figures_of_a_run() -> None:
    told = extrapolate([CORPUS, EXAMPLES, TWO, VOCAB])
    assert told is not None
    # 4.9 GB at 2.8 bytes are 1.75 G characters, 280 M examples; 8 cores at 90 %.
    assert told["characters"] == pytest.approx(1.75e9)
    assert told["examples"] == pytest.approx(280e6)
    assert told["gigabytes"] == pytest.approx(140)
    assert told["stages"]["corpus"] == pytest.approx({"ours": 125, "yardstick": 875})
    assert told["stages"]["tfrecords"] == pytest.approx({"ours": 280e6 / 40e3 / 8 / 0.9, "yardstick": 280e6 / 200 / 8})
    assert told["stages"]["vocab"] == pytest.approx({"ours": 60, "yardstick": 1200})
    text = "\n".join(lines(told))
    assert "16 min 12 s" in text
    assert "48 h 36 min" in text


def test_nothing_is_told_of_what_was_not_measured() -> None:
    assert extrapolate([CORPUS, TWO]) is None
    assert extrapolate([EXAMPLES, VOCAB]) is None


@pytest.mark.parametrize(
    ("bar", "ratio", "value", "equal", "holds"),
    [
        (Bar("≥", 6), 6.0, 1, True, True),
        (Bar("≥", 6), 5.99, 1, True, False),
        (Bar("≥", 6), 60.0, 1, False, False),
        (Bar("≥", 6), 60.0, 1, None, True),
        (Bar("≤", 400e6, of_value=True), None, 4e8, None, True),
        (Bar("≤", 400e6, of_value=True), 99.0, 4.1e8, None, False),
        (None, 0.5, 1, True, True),
        (None, 0.5, 1, False, False),
        (None, 0.5, 1, None, None),
    ],
)
def test_whether_a_bar_holds(
    bar: Bar | None, ratio: float | None, value: float, equal: bool | None, holds: bool | None
) -> None:
    assert Row("words", "", "", figure(value), figure(1), "", ratio, bar, equal).holds is holds
