"""Held-out examples and what models say of them → losses, accuracies and calibration, each with its interval."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from stages.estimates import Ratios, share
from stages.evaluate import kinds
from stages.evaluate.baseline import Guesses
from stages.evaluate.calibration import Calibration
from stages.evaluate.predictions import Predictions
from stages.evaluate.unmasking import TREATMENTS, treatments
from stages.formats.batches import Batch

MEASURES = ("loss", "accuracy", "top_5_accuracy")
PIECES = ("begins a word", "continues a word")


class MaskedScores:
    """Masked LM loss (Σ weight × loss / Σ weight, as in ALBERT), accuracy, and whether the five best hold the answer.

    Of each of the `systems`, the model first, over all masked tokens and over parts of them: by the kind of
    the right entry, by what stands in its place, and, in a vocabulary with `##` entries, by whether it begins a word.
    Differences between the model and the others are of the same tokens.
    """

    def __init__(self, entries: list[str], mask_id: int, systems: list[str]) -> None:
        self.mask_id, self.systems = mask_id, systems
        self.kinds = np.array(kinds.numbers(entries))
        self.continued = np.array(kinds.continued(entries))
        self.parts = [("all", "all"), *(("kind", name) for name in kinds.KINDS)]
        self.parts += [("treatment", name) for name in TREATMENTS]
        if self.continued.any():
            self.parts += [("piece", name) for name in PIECES]
        self.counts = np.zeros(len(self.parts), np.int64)
        # Behind the systems: the first minus each of the others.
        self.ratios = Ratios((len(self.parts), 2 * len(systems) - 1, len(MEASURES)))
        self.calibration = {name: Calibration() for name in ("first", "each_of_five", "five_together")}

    def add(self, batch: Batch, model: Predictions, others: list[Guesses]) -> None:
        """A batch, and each system's predictions in the order of np.nonzero(batch.weights)."""
        examples, slots = np.nonzero(batch.weights)
        labels, weights = batch.labels[examples, slots], batch.weights[examples, slots].astype(np.float64)
        values = [_measures(losses, best, labels) for losses, best in [(model.losses, model.best), *others]]
        measured = np.stack([*values, *(values[0] - value for value in values[1:])], 1)  # (n, systems, measures)

        member = self._members(labels, treatments(batch, self.mask_id)[examples, slots])  # (n, parts)
        self.counts += member.sum(0)
        weighed = member * weights[:, None]
        w = np.zeros((len(batch.ids), len(self.parts)))
        x = np.zeros((len(batch.ids), *self.ratios.x.shape))
        np.add.at(w, examples, weighed)
        np.add.at(x, examples, weighed[:, :, None, None] * measured[:, None])
        self.ratios.add(x, np.broadcast_to(w[:, :, None, None], x.shape))

        right = model.best == labels[:, None]
        self.calibration["first"].add(model.probabilities[:, 0], right[:, 0])
        self.calibration["each_of_five"].add(model.probabilities, right)
        # A sum of rounded numbers may be a little more than 1.
        self.calibration["five_together"].add(np.minimum(model.probabilities.sum(1), 1), right.any(1))

    def _members(self, labels: NDArray[np.int32], treated: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Which part each masked token is in: (n, parts)."""
        of = {"all": np.zeros_like(labels), "kind": self.kinds[labels], "treatment": treated}
        names = {"all": ("all",), "kind": kinds.KINDS, "treatment": TREATMENTS, "piece": PIECES}
        of["piece"] = self.continued[labels]
        return np.stack([of[part] == names[part].index(name) for part, name in self.parts], 1)

    def described(self) -> list[dict[str, Any]]:
        """A row a part: `{"by", "part", "masked_tokens", <system>: {<measure>: estimate}, "<system> minus …": …}`."""
        columns = [*self.systems, *(f"{self.systems[0]} minus {name}" for name in self.systems[1:])]
        rows = []
        for part, (by, name) in enumerate(self.parts):
            row: dict[str, Any] = {"by": by, "part": name, "masked_tokens": int(self.counts[part])}
            for column, title in enumerate(columns):
                estimates = [self.ratios.estimate(part, column, measure) for measure in range(len(MEASURES))]
                # A difference may be negative.
                count = int(self.counts[part])
                bounded = [share(e, count) if n and column < len(self.systems) else e for n, e in enumerate(estimates)]
                row[title] = dict(zip(MEASURES, bounded, strict=True))
            rows.append(row)
        return rows


def _measures(
    losses: NDArray[Any], best: NDArray[np.int64], labels: NDArray[np.int32]
) -> NDArray[np.float64]:  # (n, measures)
    right = best == labels[:, None]
    return np.stack([losses.astype(np.float64), right[:, 0], right.any(1)], 1)


class OrderScores:
    """Sentence order loss (the mean, as in ALBERT) and accuracy, and the share of swapped examples: of each model."""

    def __init__(self, systems: list[str]) -> None:
        self.systems = systems
        self.ratios = Ratios((len(systems), 2))
        self.swapped = Ratios((1,))

    def add(self, batch: Batch, logs: list[NDArray[np.float32]]) -> None:
        """A batch, and each model's ln P(in order), ln P(swapped): (B, 2)."""
        places = np.arange(len(batch.swapped)), batch.swapped
        values = [np.stack([-log[places], log.argmax(1) == batch.swapped], 1) for log in logs]
        x = np.stack(values, 1).astype(np.float64)
        self.ratios.add(x, np.ones_like(x))
        self.swapped.add(batch.swapped[:, None].astype(np.float64), np.ones((len(batch.swapped), 1)))

    def described(self) -> dict[str, Any]:
        """`{"examples", "swapped": share, <system>: {"loss", "accuracy"}}`."""
        count = self.ratios.units
        found: dict[str, Any] = {"examples": count, "swapped": share(self.swapped.estimate(0), count)}
        for number, name in enumerate(self.systems):
            loss, accuracy = self.ratios.estimate(number, 0), share(self.ratios.estimate(number, 1), count)
            found[name] = {"loss": loss, "accuracy": accuracy}
        return found
