"""The result of a comparison: a row of the table, the JSON file and the plot."""

import dataclasses
from typing import Any

from scripts.bench.running import Figure


@dataclasses.dataclass(frozen=True)
class Bar:
    """The target of a row: a ratio to the yardstick, or (`of_value`) a limit of the value itself."""

    sign: str  # ≥ or ≤
    number: float
    of_value: bool = False

    def __str__(self) -> str:
        """`≥ 25 ×`, `≤ 400 M`"""
        number = short(self.number) if self.number >= 1e4 else f"{self.number:g}"
        return f"{self.sign} {number}" + " ×" * (not self.of_value)


@dataclasses.dataclass(frozen=True)
class Row:
    """`ours` beside the yardstick. `group` is a name that --only takes.

    `ours`: None where it cannot be measured; the note gives the reason. `equal`: False where outputs differ or an
    answer is wrong, True where both sides agree, None where nothing is compared. `facts`: more figures for the JSON
    file. `inverse`: the ratio is the yardstick divided by ours, as a speedup is of seconds.
    """

    group: str
    name: str
    unit: str
    ours: Figure | None
    yardstick: Figure | None = None
    yardstick_name: str = ""
    bar: Bar | None = None
    equal: bool | None = None
    note: str = ""
    facts: dict[str, Any] = dataclasses.field(default_factory=dict)
    inverse: bool = False

    @property
    def ratio(self) -> float | None:
        """Ours divided by the yardstick; with `inverse`, the yardstick divided by ours."""
        over, under = (self.yardstick, self.ours) if self.inverse else (self.ours, self.yardstick)
        return over.value / under.value if over and under and under.value else None

    @property
    def holds(self) -> bool | None:
        """Whether the bar is reached and the outputs are equal; None without a bar and a comparison."""
        result = self.ratio
        if self.bar and self.bar.of_value:
            result = self.ours.value if self.ours else None
        if self.bar is None or result is None:
            return self.equal
        reached = result >= self.bar.number if self.bar.sign == "≥" else result <= self.bar.number
        return reached and self.equal is not False


def short(value: float) -> str:
    """A figure in three digits: `45.2 M`, `260 k`, `1,230`, `28.4`, `0.043`, `0`."""
    for limit, size, letter in ((1e9, 1e9, " G"), (1e6, 1e6, " M"), (1e4, 1e3, " k")):
        if value >= limit:
            return short(value / size) + letter
    digits = next((digits for digits, limit in enumerate((100, 10, 1)) if value >= limit), 3)
    return f"{value:,.{digits}f}" if value else "0"
