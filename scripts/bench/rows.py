"""What a comparison came to: a row of the table, the JSON file and the plot."""

import dataclasses

from scripts.bench.running import Measured


@dataclasses.dataclass(frozen=True)
class Bar:
    """What a row must reach: a ratio to the yardstick, or (`of_value`) a limit of the value itself."""

    sign: str  # ≥ or ≤
    number: float
    of_value: bool = False

    def holds(self, row: "Row") -> bool:
        reached = row.ours.value if self.of_value else row.ratio
        assert reached is not None
        return reached >= self.number if self.sign == "≥" else reached <= self.number


@dataclasses.dataclass(frozen=True)
class Figure:
    """One side: its value in the row's unit, and what that took: seconds, and bytes of the largest process."""

    value: float
    cpu_seconds: float
    wall_seconds: float
    peak_memory: int


@dataclasses.dataclass(frozen=True)
class Row:
    """`ours` and the yardstick side by side. `group` is the stage's name, what --only takes.

    `ratio`: how many times better than the yardstick, None for a limit without one. `equal`: whether both sides
    made the same, None where they do not make the same thing.
    """

    group: str
    name: str
    unit: str
    ours: Figure
    yardstick: Figure | None = None
    yardstick_name: str = ""
    ratio: float | None = None
    bar: Bar | None = None
    equal: bool | None = None
    note: str = ""
    # Figures that the extrapolation needs.
    facts: dict[str, float] = dataclasses.field(default_factory=dict)

    @property
    def holds(self) -> bool | None:
        """Whether the bar is reached and the outputs are the same; None where neither is asked for."""
        if self.bar is None:
            return self.equal
        return self.bar.holds(self) and self.equal is not False


def rate(measured: list[Measured]) -> Figure:
    """Units per CPU second over all rounds together."""
    cpu = sum(one.cpu for one in measured)
    amount = sum(one.amount for one in measured)
    return Figure(amount / cpu, cpu, sum(one.wall for one in measured), max(one.peak for one in measured))


def best_rate(measured: list[Measured]) -> Figure:
    """Units per CPU second of the best round: noise of other programs only ever adds time."""
    return rate([max(measured, key=lambda one: one.amount / one.cpu)])


def best_wall_rate(measured: list[Measured]) -> Figure:
    """Units per second of wall time of the best round: what several threads do together."""
    best = max(measured, key=lambda one: one.amount / one.wall)
    return Figure(best.amount / best.wall, best.cpu, best.wall, best.peak)
