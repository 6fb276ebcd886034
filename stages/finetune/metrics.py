"""Predictions and truth of the dev set → metrics from 0 to 1 (correlations from -1), with 95 % intervals."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Collection, Hashable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stages.estimates import NORMAL

RESAMPLES = 1000


def accuracy(predictions: NDArray[Any], labels: NDArray[Any]) -> dict[str, float | None]:
    """The share of predictions (n,) that equal the labels (n,)."""
    return {"accuracy": float(np.mean(predictions == labels))}


def correlations(predictions: NDArray[Any], labels: NDArray[Any]) -> dict[str, float | None]:
    """Pearson's and Spearman's correlation of two arrays (n,).

    None where it is undefined: for fewer than two values, for equal values, and for values that are not finite.
    """
    if not np.isfinite(predictions).all() or min(len(np.unique(predictions)), len(np.unique(labels))) < 2:
        return {"pearson": None, "spearman": None}
    return {
        "pearson": float(np.corrcoef(predictions, labels)[0, 1]),
        "spearman": float(np.corrcoef(ranks(predictions), ranks(labels))[0, 1]),
    }


def ranks(values: NDArray[Any]) -> NDArray[np.float64]:
    """Ranks of the values from 1, (n,); equal values share the mean of their ranks."""
    _, indices, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return ((2 * last - counts + 1) / 2)[indices]


def normalize(answer: str) -> str:
    """An answer as JGLUE compares it: lower case, no full stop at its end, one space for white space."""
    return " ".join(answer.lower().rstrip("。").split())


def exact_match(prediction: str, reference: str) -> float:
    """1 where both are the same text after `normalize`, else 0."""
    return float(normalize(prediction) == normalize(reference))


def character_f1(prediction: str, reference: str) -> float:
    """The F1 of two normalized answers as bags of characters. JGLUE counts characters, SQuAD counts words."""
    a, b = normalize(prediction), normalize(reference)
    common = sum((Counter(a) & Counter(b)).values())
    if not a or not b:
        return float(a == b)
    return 2 * common / (len(a) + len(b))


def answer_scores(predictions: Sequence[str], references: Sequence[Sequence[str]]) -> dict[str, float | None]:
    """Mean exact match and mean F1 of the questions."""
    metrics = {"exact_match": exact_match, "f1": character_f1}
    scores = {name: best_scores(metric, predictions, references) for name, metric in metrics.items()}
    return {name: sum(values) / len(values) for name, values in scores.items()}


def best_scores(
    metric: Callable[[str, str], float], predictions: Sequence[str], references: Sequence[Sequence[str]]
) -> list[float]:
    """The score of each question's prediction: the best of its references counts."""
    return [max(metric(text, one) for one in each) for text, each in zip(predictions, references, strict=True)]


def entity_scores(
    predictions: Sequence[Collection[Hashable]], truth: Sequence[Collection[Hashable]]
) -> dict[str, float | None]:
    """Precision, recall and F1 of the entities of all sentences together. Span and type must both be right.

    None where the denominator is 0: a precision without predictions, a recall without entities.
    """
    correct, predicted, actual = (sum(column) for column in zip(*entity_counts(predictions, truth), strict=True))
    return {
        "f1": 2 * correct / (predicted + actual) if predicted + actual else None,
        "precision": correct / predicted if predicted else None,
        "recall": correct / actual if actual else None,
    }


def entity_counts(
    predictions: Sequence[Collection[Hashable]], truth: Sequence[Collection[Hashable]]
) -> list[tuple[int, int, int]]:
    """For each sentence the numbers of correct predictions, of predictions, of entities."""
    return [(len({*a} & {*b}), len({*a}), len({*b})) for a, b in zip(predictions, truth, strict=True)]


def correlation_interval(correlation: float | None, count: int) -> list[float] | None:
    """The interval of Pearson's correlation (Fisher's z). None for fewer than four pairs, and at -1 and 1."""
    if correlation is None or count < 4 or abs(correlation) >= 1:
        return None
    center, spread = math.atanh(correlation), NORMAL / math.sqrt(count - 3)
    return [math.tanh(center - spread), math.tanh(center + spread)]


def ratio_interval(numerators: Sequence[float], denominators: Sequence[float]) -> list[float] | None:
    """The interval of sum(numerators) / sum(denominators), one of each an example, by a bootstrap with a fixed seed.

    None where the sum of the denominators is 0 in all RESAMPLES samples.
    """
    count = len(numerators)
    draws = np.random.default_rng(0).multinomial(count, np.full(count, 1 / count), RESAMPLES)
    sums = draws @ np.array([numerators, denominators], np.float64).T
    ratios = sums[sums[:, 1] > 0]
    return np.percentile(ratios[:, 0] / ratios[:, 1], (2.5, 97.5)).tolist() if len(ratios) else None
