"""Hyperparameters as a person gives them → the runs to make, in order."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import NamedTuple


class Grid(NamedTuple):
    """Peak learning rates of AdamW, and numbers of epochs."""

    learning_rates: tuple[float, ...]
    epochs: tuple[int, ...]


# The published one: github.com/yahoojapan/JGLUE, fine-tuning/README.md, "Hyperparameters".
GRIDS = {"jglue": Grid((5e-5, 3e-5, 2e-5), (3, 4))}
# The share of a run in which the rate rises, from the same table; it then falls to 0 on a line.
WARMUP = 0.1


class Run(NamedTuple):
    """One fine-tuning. The rate, the epochs, and the seed of the new layers and of the order of the examples.

    `pretrained`: False where the model begins with random values.
    """

    learning_rate: float
    epochs: int
    seed: int
    pretrained: bool = True

    @property
    def name(self) -> str:
        """What its files are called."""
        scratch = "" if self.pretrained else "scratch-"
        return f"{scratch}rate-{self.learning_rate:g}-epochs-{self.epochs}-seed-{self.seed}"


def runs(grid: Grid, seeds: Sequence[int]) -> list[Run]:
    """Every combination once, in the order given."""
    return list(dict.fromkeys(Run(*each) for each in itertools.product(grid.learning_rates, grid.epochs, seeds)))
