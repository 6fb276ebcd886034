"""Sums of one example after another → ratios with their 95 % intervals, in memory that does not grow."""

import json
import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

# The 97.5th percentile of the normal distribution.
NORMAL = 1.959964


class Ratios:
    """Weighted means Σx/Σw over units that are drawn independently of one another, as an array of them.

    A unit is an example (or a sentence): what happens within it is not independent. The variance of a ratio of sums is
    that of its linearisation, n/(n-1) · Σ(x - r·w)² / (Σw)² (Cochran 1977, Sampling Techniques, section 6.3), which
    needs five sums and no unit kept.
    """

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.units = 0
        self.x, self.w, self.xx, self.xw, self.ww = np.zeros((5, *shape))

    def add(self, x: NDArray[np.float64], w: NDArray[np.float64]) -> None:
        """Units with their sums: x and w are (units, *shape)."""
        self.units += len(x)
        for total, value in ((self.x, x), (self.w, w), (self.xx, x * x), (self.xw, x * w), (self.ww, w * w)):
            total += value.sum(0)

    def estimate(self, *at: int) -> dict[str, Any]:
        """`{"value", "low", "high"}` of one of them: None where one unit, or no weight, tells nothing."""
        x, w = float(self.x[at]), float(self.w[at])
        if not w:
            return {"value": None, "low": None, "high": None}
        ratio = x / w
        if self.units < 2:
            return {"value": ratio, "low": None, "high": None}
        squares = float(self.xx[at] - 2 * ratio * self.xw[at] + ratio * ratio * self.ww[at])
        error = NORMAL * math.sqrt(max(squares, 0.0) * self.units / (self.units - 1)) / w
        return {"value": ratio, "low": ratio - error, "high": ratio + error}


def share(estimate: dict[str, Any], count: int) -> dict[str, Any]:
    """An estimate of a share of `count` things: its interval ends at 0 and 1.

    Where none or all are right there is no variance to estimate; then it is Wilson's, as if they were independent.
    """
    if count and estimate["value"] in (0.0, 1.0):
        low, high = wilson(int(estimate["value"]) * count, count)
        return {"value": estimate["value"], "low": low, "high": high}
    return {name: value if value is None else min(max(value, 0.0), 1.0) for name, value in estimate.items()}


def exponential(estimate: dict[str, Any]) -> dict[str, Any]:
    """The perplexity of a loss in nats, ends and all. A loss beyond 700 is too large for a number: null."""
    return {
        name: value if value is None else math.exp(value) if value < 700 else None for name, value in estimate.items()
    }


def scaled(estimate: dict[str, Any], factor: float) -> dict[str, Any]:
    """The same in another unit; `factor` is positive."""
    return {name: value if value is None else value * factor for name, value in estimate.items()}


def wilson(right: int, count: int) -> tuple[float, float]:
    """The 95 % interval of a share of independent trials (Wilson 1927), which stays sensible near 0 and 1."""
    share, z = right / count, NORMAL * NORMAL / count
    middle, spread = share + z / 2, NORMAL * math.sqrt(share * (1 - share) / count + z / count / 4)
    return max((middle - spread) / (1 + z), 0.0), min((middle + spread) / (1 + z), 1.0)


def rounded(value: Any) -> Any:
    """JSON with six significant digits: the last ones of a sum depend on the number of threads."""
    if isinstance(value, float):
        return json.loads(f"{value:.6g}")
    if isinstance(value, dict):
        return {key: rounded(entry) for key, entry in value.items()}
    return [rounded(entry) for entry in value] if isinstance(value, list) else value
