"""Predictions for the dev set, and the truth → figures from 0 to 1 (correlations from -1), with 95 % intervals."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stages.estimates import NORMAL
from stages.finetune.examples import Entity

RESAMPLES = 1000


def accuracy(chosen: NDArray[Any], labels: NDArray[Any]) -> dict[str, float | None]:
    """The share of `chosen` (n,) that are `labels` (n,)."""
    return {"accuracy": float(np.mean(chosen == labels))}


def correlations(said: NDArray[Any], truth: NDArray[Any]) -> dict[str, float | None]:
    """Pearson's and Spearman's correlation of two (n,).

    None where there is none: under two values, all of them alike, or one that is no number.
    """
    if not np.isfinite(said).all() or min(len(np.unique(said)), len(np.unique(truth))) < 2:
        return {"pearson": None, "spearman": None}
    return {
        "pearson": float(np.corrcoef(said, truth)[0, 1]),
        "spearman": float(np.corrcoef(ranks(said), ranks(truth))[0, 1]),
    }


def ranks(values: NDArray[Any]) -> NDArray[np.float64]:
    """Places in the order of the values, from 1, (n,); equal values share the mean of theirs."""
    _, which, times = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(times)
    return ((2 * last - times + 1) / 2)[which]


def normalised(answer: str) -> str:
    """An answer as JGLUE compares it: lower case, no full stop at its end, one space for white space."""
    return " ".join(answer.lower().rstrip("。").split())


def exact_match(said: str, answer: str) -> float:
    """1 where two answers are the same text, normalised."""
    return float(normalised(said) == normalised(answer))


def character_f1(said: str, answer: str) -> float:
    """The F1 of two answers as bags of characters, normalised: JGLUE counts characters where SQuAD counts words."""
    a, b = normalised(said), normalised(answer)
    common = sum((Counter(a) & Counter(b)).values())
    if not a or not b:
        return float(a == b)
    return 2 * common / (len(a) + len(b))


def answer_scores(said: Sequence[str], answers: Sequence[Sequence[str]]) -> dict[str, float | None]:
    """Exact match and F1, averaged over questions; of several right answers the nearest counts."""
    pairs = list(zip(said, answers, strict=True))
    return {
        "exact_match": sum(exact_matches(said, answers)) / len(pairs),
        "f1": sum(max(character_f1(text, right) for right in all_right) for text, all_right in pairs) / len(pairs),
    }


def exact_matches(said: Sequence[str], answers: Sequence[Sequence[str]]) -> list[float]:
    """Of each question, 1 where an answer is one of the right ones."""
    return [max(exact_match(text, right) for right in every) for text, every in zip(said, answers, strict=True)]


def entity_scores(
    predicted: Sequence[Collection[Entity]], truth: Sequence[Collection[Entity]]
) -> dict[str, float | None]:
    """Precision, recall and F1 of the entities of all sentences together. An entity is right with its span and type.

    None where nothing is divided by nothing: a precision without predictions, a recall without entities.
    """
    right, given, real = (sum(column) for column in zip(*entity_counts(predicted, truth), strict=True))
    return {
        "f1": 2 * right / (given + real) if given + real else None,
        "precision": right / given if given else None,
        "recall": right / real if real else None,
    }


def entity_counts(
    predicted: Sequence[Collection[Entity]], truth: Sequence[Collection[Entity]]
) -> list[tuple[int, int, int]]:
    """Of each sentence: right predictions, predictions, entities."""
    return [(len({*a} & {*b}), len({*a}), len({*b})) for a, b in zip(predicted, truth, strict=True)]


def scores_by_type(
    predicted: Sequence[Collection[Entity]], truth: Sequence[Collection[Entity]]
) -> dict[str, dict[str, float | None]]:
    """Type → how many entities of it there are, and its `entity_scores`."""
    types = sorted({entity.type for part in (*predicted, *truth) for entity in part})
    figures = {}
    for name in types:
        a, b = ([[entity for entity in part if entity.type == name] for part in side] for side in (predicted, truth))
        figures[name] = {"entities": sum(map(len, b)), **entity_scores(a, b)}
    return figures


def correlation_interval(correlation: float | None, count: int) -> list[float] | None:
    """The interval of Pearson's correlation of `count` pairs (Fisher's z). None of under four, and at -1 and 1."""
    if correlation is None or count < 4 or abs(correlation) >= 1:
        return None
    middle, spread = math.atanh(correlation), NORMAL / math.sqrt(count - 3)
    return [math.tanh(middle - spread), math.tanh(middle + spread)]


def ratio_interval(above: Sequence[float], below: Sequence[float]) -> list[float] | None:
    """The interval of sum(above) / sum(below) over examples, by a bootstrap with a fixed seed.

    The examples are drawn anew RESAMPLES times. None where `below` is 0 in all draws.
    """
    count = len(above)
    draws = np.random.default_rng(0).multinomial(count, np.full(count, 1 / count), RESAMPLES)
    sums = draws @ np.array([above, below], np.float64).T
    ratios = sums[sums[:, 1] > 0]
    return np.percentile(ratios[:, 0] / ratios[:, 1], (2.5, 97.5)).tolist() if len(ratios) else None
