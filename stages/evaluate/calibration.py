"""Predicted probabilities and outcomes → calibration by bins."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from stages.estimates import wilson

BINS = 10


class Calibration:
    """Ten bins of equal width over the predicted probability, each with its mean prediction and its frequency.

    A probability of 1 is in the last bin. The expected calibration error is Σ nᵢ/n · |frequency - mean prediction|
    over the bins (Naeini et al. 2015; Guo et al. 2017).
    """

    def __init__(self) -> None:
        self.count = np.zeros(BINS, np.int64)
        self.right = np.zeros(BINS, np.int64)
        self.predicted = np.zeros(BINS)

    def add(self, predicted: NDArray[np.floating[Any]], right: NDArray[np.bool_]) -> None:
        """Predicted probabilities of any shape, and whether each prediction was right."""
        probabilities = predicted.ravel().astype(np.float64)
        bins = np.minimum((probabilities * BINS).astype(np.int64), BINS - 1)
        self.count += np.bincount(bins, minlength=BINS)
        self.right += np.bincount(bins[right.ravel()], minlength=BINS)
        self.predicted += np.bincount(bins, probabilities, minlength=BINS)

    def error(self) -> float | None:
        """The expected calibration error, from 0 to 1; None without predictions."""
        total = int(self.count.sum())
        return float(np.abs(self.right - self.predicted).sum() / total) if total else None

    def as_json(self) -> dict[str, Any]:
        """The error, and each bin that is not empty, with the frequency's 95 % interval."""
        bins = []
        for number, (count, right) in enumerate(zip(self.count.tolist(), self.right.tolist(), strict=True)):
            if count:
                low, high = wilson(right, count)
                bins.append(
                    {
                        "from": number / BINS,
                        "to": (number + 1) / BINS,
                        "count": count,
                        "predicted": float(self.predicted[number] / count),
                        "frequency": {"value": right / count, "low": low, "high": high},
                    }
                )
        return {"expected_calibration_error": self.error(), "predictions": int(self.count.sum()), "bins": bins}
