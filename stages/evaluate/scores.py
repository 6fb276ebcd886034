"""Held-out examples and predictions → losses, accuracies and calibration, with intervals."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from stages.estimates import Ratios, share, wilson
from stages.evaluate import kinds
from stages.formats.batches import Batch

TOP = 5
MEASURES = ("loss", "accuracy", "top_5_accuracy")
# The entry at a masked position. A random entry that equals the label counts as kept.
TREATMENTS = ("[MASK]", "kept", "random")
PIECES = ("begins a word", "continues a word")
BINS = 10


class Guesses(NamedTuple):
    """Predictions for n masked tokens."""

    losses: NDArray[np.floating]  # (n,) -ln P(label), in nats
    best: NDArray[np.int64]  # (n, TOP) the most probable entries


class Predictions(NamedTuple):
    """Guesses of a model, with the probabilities of the best entries."""

    losses: NDArray[np.float32]  # (n,)
    best: NDArray[np.int64]  # (n, TOP)
    probabilities: NDArray[np.float32]  # (n, TOP)


class MaskedScores:
    """Masked LM loss (Σ weight × loss / Σ weight, as in ALBERT), accuracy, and accuracy of the five best entries.

    For each of the `systems`, the model first, over all masked tokens and over parts of them: by the kind of the right
    entry, by its treatment, and, in a vocabulary with `##` entries, by whether it begins a word. Also for the
    differences between the model and the others, over the same tokens.
    """

    def __init__(self, entries: list[str], systems: list[str]) -> None:
        self.systems, self.mask_id = systems, entries.index("[MASK]")
        self.kinds = np.array([kinds.KINDS.index(kinds.kind(entry)) for entry in entries])
        self.pieces = np.array([int(kinds.continues_word(entry)) for entry in entries])
        self.groups = {"all": ("all",), "kind": kinds.KINDS, "treatment": TREATMENTS}
        if self.pieces.any():
            self.groups["piece"] = PIECES
        self.parts = [(by, name) for by, names in self.groups.items() for name in names]
        self.counts = np.zeros(len(self.parts), np.int64)
        # Columns: the systems, then the differences between the first and each of the others.
        self.ratios = Ratios((len(self.parts), 2 * len(systems) - 1, len(MEASURES)))
        self.calibration = {name: Calibration() for name in ("first", "each_of_five", "five_together")}

    def add(self, batch: Batch, model: Predictions, *others: Guesses | Predictions) -> None:
        """A batch, and each system's predictions in the order of np.nonzero(batch.weights)."""
        examples, slots = np.nonzero(batch.weights)
        labels, weights = batch.labels[examples, slots], batch.weights[examples, slots].astype(np.float64)
        values = [_measures(each.losses, each.best, labels) for each in (model, *others)]
        columns = np.stack([*values, *(values[0] - value for value in values[1:])], 1)  # (n, columns, measures)

        members = self._members(labels, batch.ids[examples, batch.positions[examples, slots]])
        self.counts += members.sum(0)
        part_weights = members * weights[:, None]  # (n, parts)
        w = np.zeros((len(batch.ids), len(self.parts)))
        x = np.zeros((len(batch.ids), *self.ratios.x.shape))
        np.add.at(w, examples, part_weights)
        np.add.at(x, examples, part_weights[:, :, None, None] * columns[:, None])
        self.ratios.add(x, np.broadcast_to(w[:, :, None, None], x.shape))

        right = model.best == labels[:, None]
        self.calibration["first"].add(model.probabilities[:, 0], right[:, 0])
        self.calibration["each_of_five"].add(model.probabilities, right)
        # The sum of rounded numbers may exceed 1.
        self.calibration["five_together"].add(np.minimum(model.probabilities.sum(1), 1), right.any(1))

    def _members(self, labels: NDArray[np.int32], ids: NDArray[np.int32]) -> NDArray[np.bool_]:
        """The parts that each masked token is in, by its label and the id in its place: (n, parts)."""
        numbers = {
            "all": np.zeros_like(labels),
            "kind": self.kinds[labels],
            "treatment": np.where(ids == self.mask_id, 0, np.where(ids == labels, 1, 2)),
            "piece": self.pieces[labels],
        }
        return np.hstack([numbers[by][:, None] == np.arange(len(names)) for by, names in self.groups.items()])

    def as_json(self) -> list[dict[str, Any]]:
        """A row a part: `{"by", "part", "masked_tokens", <system>: {<measure>: estimate}, "<system> minus …": …}`."""
        columns = [*self.systems, *(f"{self.systems[0]} minus {name}" for name in self.systems[1:])]
        rows = []
        for part, (by, name) in enumerate(self.parts):
            count = int(self.counts[part])
            row: dict[str, Any] = {"by": by, "part": name, "masked_tokens": count}
            for column, title in enumerate(columns):
                row[title] = {}
                for number, measure in enumerate(MEASURES):
                    estimate = self.ratios.estimate(part, column, number)
                    # A loss is not a share, and a difference may be negative.
                    is_share = measure != "loss" and column < len(self.systems)
                    row[title][measure] = share(estimate, count) if is_share else estimate
            rows.append(row)
        return rows


def _measures(
    losses: NDArray[Any], best: NDArray[np.int64], labels: NDArray[np.int32]
) -> NDArray[np.float64]:  # (n, measures)
    right = best == labels[:, None]
    return np.stack([losses.astype(np.float64), right[:, 0], right.any(1)], 1)


class OrderScores:
    """Sentence order loss (the mean, as in ALBERT) and accuracy of each model, and the share of swapped examples."""

    def __init__(self, systems: list[str]) -> None:
        self.systems = systems
        self.ratios = Ratios((len(systems), 2))
        self.swapped = Ratios((1,))

    def add(self, batch: Batch, logs: list[NDArray[np.float32]]) -> None:
        """A batch, and each model's ln P(in order), ln P(swapped): (B, 2)."""
        indices = np.arange(len(batch.swapped)), batch.swapped
        values = [np.stack([-log[indices], log.argmax(1) == batch.swapped], 1) for log in logs]
        x = np.stack(values, 1).astype(np.float64)
        self.ratios.add(x, np.ones_like(x))
        self.swapped.add(batch.swapped[:, None].astype(np.float64), np.ones((len(batch.swapped), 1)))

    def as_json(self) -> dict[str, Any]:
        """`{"examples", "swapped": share, <system>: {"loss", "accuracy"}}`."""
        count = self.ratios.units
        scores: dict[str, Any] = {"examples": count, "swapped": share(self.swapped.estimate(0), count)}
        for number, name in enumerate(self.systems):
            loss, accuracy = self.ratios.estimate(number, 0), share(self.ratios.estimate(number, 1), count)
            scores[name] = {"loss": loss, "accuracy": accuracy}
        return scores


class Calibration:
    """Ten bins of equal width over the predicted probability, each with its mean prediction and its frequency.

    A probability of 1 is in the last bin. The expected calibration error, from 0 to 1, is
    Σ nᵢ/n · |frequency - mean prediction| over the bins (Naeini et al. 2015; Guo et al. 2017).
    """

    def __init__(self) -> None:
        # In each bin: predictions, those that were right, and the sum of their probabilities.
        self.count, self.right = np.zeros((2, BINS), np.int64)
        self.predicted = np.zeros(BINS)

    def add(self, predicted: NDArray[np.floating[Any]], right: NDArray[np.bool_]) -> None:
        """Predicted probabilities of any shape, and whether each prediction was right."""
        probabilities = predicted.ravel().astype(np.float64)
        bins = np.minimum((probabilities * BINS).astype(np.int64), BINS - 1)
        self.count += np.bincount(bins, minlength=BINS)
        self.right += np.bincount(bins[right.ravel()], minlength=BINS)
        self.predicted += np.bincount(bins, probabilities, minlength=BINS)

    def as_json(self) -> dict[str, Any]:
        """The error, None without predictions, and each bin that is not empty, with the frequency's 95 % interval."""
        total, bins = int(self.count.sum()), []
        error = float(np.abs(self.right - self.predicted).sum() / total) if total else None
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
        return {"expected_calibration_error": error, "predictions": total, "bins": bins}
