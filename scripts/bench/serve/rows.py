"""What a comparison came to: a row of the table, the JSON file and the plot; rows → the lines of the table."""

import dataclasses
from typing import Any

from scripts.bench.rows import Bar
from scripts.bench.table import aligned, bar, short


@dataclasses.dataclass(frozen=True)
class Row:
    """`ours` and the yardstick side by side, in `unit`. `group` is what --only takes.

    `ours`: None where it cannot be measured here; the note says why. `ratio`: ours by the yardstick: how many times as
    fast, or, of seconds, how many times as long. `equal`: False where an output is not as it must be, True where both
    sides made the same, None where there is nothing to compare. `facts`: more figures, for the JSON file.
    """

    group: str
    name: str
    unit: str
    ours: float | None
    yardstick: float | None = None
    yardstick_name: str = ""
    bar: Bar | None = None
    equal: bool | None = None
    note: str = ""
    facts: dict[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def ratio(self) -> float | None:
        return self.ours / self.yardstick if self.ours is not None and self.yardstick else None

    @property
    def reached(self) -> float | None:
        """What is held against the bar."""
        return self.ours if self.bar is None or self.bar.of_value else self.ratio

    @property
    def holds(self) -> bool | None:
        """Whether the bar is reached and the outputs are the same; None where neither is asked for, or was measured."""
        if self.bar is None or self.reached is None:
            return self.equal
        within = self.reached >= self.bar.number if self.bar.sign == "≥" else self.reached <= self.bar.number
        return within and self.equal is not False


HEAD = ["what", "unit", "here", "yardstick", "", "ratio", "bar", "holds"]
# Columns of figures stand right.
RIGHT = {2, 3, 5, 6}


def table(rows: list[Row]) -> list[str]:
    """The lines of the table."""
    return aligned([HEAD, *map(_cells, rows)], RIGHT)


def notes(rows: list[Row]) -> list[str]:
    """What the table has no room for."""
    return [f"{row.name}: {row.note}" for row in rows if row.note]


def _cells(row: Row) -> list[str]:
    return [
        row.name,
        row.unit,
        "not here" if row.ours is None else figure(row.ours),
        figure(row.yardstick) if row.yardstick is not None else "",
        row.yardstick_name,
        f"{figure(row.ratio)} ×" if row.ratio is not None else "",
        bar(row.bar),
        _holds(row),
    ]


def figure(value: float) -> str:
    """Three digits; a count of nothing is 0."""
    return "0" if value == 0 else short(value)


def _holds(row: Row) -> str:
    if row.ours is None:
        return ""
    if row.equal is False:
        return "NO: outputs differ"
    if row.bar is None:
        return "same output" if row.equal else ""
    return "yes" if row.holds else "NO"
