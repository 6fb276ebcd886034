"""What a model says of the dev set, and the truth → JGLUE's figures, from 0 to 1 (correlations from -1)."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray


def accuracy(chosen: NDArray[Any], labels: NDArray[Any]) -> dict[str, float | None]:
    """The share of `chosen` (n,) that are `labels` (n,)."""
    return {"accuracy": float(np.mean(chosen == labels))}


def correlations(said: NDArray[Any], truth: NDArray[Any]) -> dict[str, float | None]:
    """Pearson's and Spearman's correlation of two (n,); None where there is none: under two values, or all alike."""
    from scipy import stats  # 0.5 s

    if min(len(np.unique(said)), len(np.unique(truth))) < 2:
        return {"pearson": None, "spearman": None}
    found = {"pearson": stats.pearsonr(said, truth), "spearman": stats.spearmanr(said, truth)}
    figures = {name: float(result.statistic) for name, result in found.items()}
    return {name: value if math.isfinite(value) else None for name, value in figures.items()}


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
        "exact_match": sum(max(exact_match(text, right) for right in all_right) for text, all_right in pairs)
        / len(pairs),
        "f1": sum(max(character_f1(text, right) for right in all_right) for text, all_right in pairs) / len(pairs),
    }
