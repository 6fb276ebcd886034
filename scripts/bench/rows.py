"""The result of a comparison: a row of the table, the JSON file and the plot."""

import dataclasses
from typing import Any

from scripts.bench.running import Measured, Process


@dataclasses.dataclass(frozen=True)
class Bar:
    """The target of a row: a ratio to the yardstick, or (`of_value`) a limit of the value itself."""

    sign: str  # ≥ or ≤
    number: float
    of_value: bool = False


@dataclasses.dataclass(frozen=True)
class Figure:
    """One side: its value in the row's unit, and its cost: seconds, and bytes of the largest process."""

    value: float
    cpu_seconds: float = 0.0
    wall_seconds: float = 0.0
    peak_memory: int = 0


@dataclasses.dataclass(frozen=True)
class Row:
    """`ours` beside the yardstick. `group` is a name that --only takes.

    `ours`: None where it cannot be measured; the note gives the reason. `equal`: False where outputs differ or an
    answer is wrong, True where both sides agree, None where nothing is compared. `facts`: more figures for the JSON
    file.
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

    @property
    def ratio(self) -> float | None:
        """Ours divided by the yardstick."""
        return _quotient(self.ours, self.yardstick)

    @property
    def result(self) -> float | None:
        """The number that the bar limits."""
        if self.bar is None or self.bar.of_value:
            return self.ours.value if self.ours else None
        return self.ratio

    @property
    def holds(self) -> bool | None:
        """Whether the bar is reached and the outputs are equal; None without a bar and a comparison."""
        if self.bar is None or self.result is None:
            return self.equal
        reached = self.result >= self.bar.number if self.bar.sign == "≥" else self.result <= self.bar.number
        return reached and self.equal is not False


@dataclasses.dataclass(frozen=True)
class StageRow(Row):
    """A row of `make bench`: its ratio says how many times better ours is, also in seconds."""

    ours: Figure

    @property
    def ratio(self) -> float | None:
        return _quotient(self.yardstick, self.ours) if self.unit.startswith("seconds") else super().ratio


def _quotient(over: Figure | None, under: Figure | None) -> float | None:
    return over.value / under.value if over and under and under.value else None


def whole(process: Process, value: float) -> Figure:
    """A value with the cost of a whole process."""
    return Figure(value, process.cpu, process.wall, process.peak)


def rate(rounds: list[Measured]) -> Figure:
    """Units per CPU second over all rounds together."""
    cpu = sum(each.cpu for each in rounds)
    amount = sum(each.amount for each in rounds)
    return Figure(amount / cpu, cpu, sum(each.wall for each in rounds), max(each.peak for each in rounds))


def best_rate(rounds: list[Measured]) -> Figure:
    """Units per CPU second of the best round: noise of other programs only ever adds time."""
    return rate([max(rounds, key=lambda each: each.amount / each.cpu)])


def best_wall_rate(rounds: list[Measured]) -> Figure:
    """Units per second of wall time of the best round, for several threads together."""
    best = max(rounds, key=lambda each: each.amount / each.wall)
    return Figure(best.amount / best.wall, best.cpu, best.wall, best.peak)
