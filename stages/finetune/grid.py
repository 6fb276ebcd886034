"""Hyperparameters → the runs, in order."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import NamedTuple


class Grid(NamedTuple):
    """Peak learning rates of AdamW, and numbers of epochs."""

    learning_rates: tuple[float, ...]
    epochs: tuple[int, ...]


# The published grid: github.com/yahoojapan/JGLUE, fine-tuning/README.md, "Hyperparameters".
GRIDS = {"jglue": Grid((5e-5, 3e-5, 2e-5), (3, 4))}
# The share of the steps in which the rate rises, from the same table. It then falls linearly to 0.
WARMUP = 0.1


class Run(NamedTuple):
    """One fine-tuning. The seed is of the new layers and of the order of the examples.

    `pretrained`: False for a model that starts with random values.
    """

    learning_rate: float
    epochs: int
    seed: int
    pretrained: bool = True

    @property
    def name(self) -> str:
        """The name of its files."""
        scratch = "" if self.pretrained else "scratch-"
        return f"{scratch}rate-{self.learning_rate:g}-epochs-{self.epochs}-seed-{self.seed}"


def runs(grid: Grid, seeds: Sequence[int]) -> list[Run]:
    """Every combination once, in the order of the arguments."""
    return list(dict.fromkeys(Run(*each) for each in itertools.product(grid.learning_rates, grid.epochs, seeds)))
