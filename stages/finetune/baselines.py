"""Training and dev set → figures that need no model, in the chief metric of their task.

Chance picks a label at random. Majority always gives the most frequent label of the training set. Overlap counts the
characters that two texts share. Dictionary finds the entities of the training set again, the longest first.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Sequence
from typing import cast

import numpy as np
from numpy.typing import NDArray

from stages.finetune.examples import Entity, Example, Sentence
from stages.finetune.metrics import accuracy, character_f1, correlations, entity_scores
from stages.finetune.parts import Examples
from stages.finetune.tasks import Task

# Thresholds are tried in hundredths of the overlap.
STEPS = 100


def baselines(task: Task, train: Examples, dev: Examples) -> dict[str, float | None]:
    """Name → figure on the dev set. Only those that the task has; None where the figure is undefined."""
    if task.kind == "span":
        return {}
    if task.kind == "tagging":
        entries = dictionary(cast(list[Sentence], train))
        sentences = cast(list[Sentence], dev)
        matches = [longest_matches(sentence.text, entries) for sentence in sentences]
        return {"dictionary": entity_scores(matches, [sentence.entities for sentence in sentences])["f1"]}
    known, asked = (cast(list[Example], part) for part in (train, dev))
    labels = np.array([example.label for example in asked])
    if task.kind == "regression":
        return {"overlap": correlations(overlaps(asked)[:, 0], labels)["pearson"]}
    majority = Counter(example.label for example in known).most_common(1)[0][0]
    figures = {"chance": 1 / len(task.labels), "majority": accuracy(np.full(len(labels), majority), labels)["accuracy"]}
    if task.kind == "choice":
        figures["overlap"] = accuracy(overlaps(asked).argmax(1), labels)["accuracy"]
    elif len(task.texts) == 2:
        answers = np.array([int(example.label) for example in known])
        rule = best_rule(overlaps(known)[:, 0], answers, len(task.labels))
        figures["overlap"] = accuracy(rule[_step(overlaps(asked)[:, 0])], labels)["accuracy"]
    return figures


def overlaps(examples: Sequence[Example]) -> NDArray[np.float64]:
    """Of each example's first text with each of its others, (examples, others): from 0 to 1, all characters shared.

    Characters count as often as they occur (Dice's coefficient of bags of characters).
    """
    return np.array([[character_f1(first, other) for other in others] for (first, *others), _ in examples])


def best_rule(overlap: NDArray[np.float64], labels: NDArray[np.int64], kinds: int) -> NDArray[np.int64]:
    """A label for each hundredth of the overlap, (STEPS + 1,): the thresholds with the most right `labels`, (n,).

    Each of the `kinds` labels has at most one interval of overlaps.
    """
    counts = np.zeros((kinds, STEPS + 2), np.int64)
    np.add.at(counts, (labels, _step(overlap) + 1), 1)
    below = counts.cumsum(1).tolist()
    rules = itertools.product(
        itertools.permutations(range(kinds)), itertools.combinations_with_replacement(range(STEPS + 2), kinds - 1)
    )

    def right(rule: tuple[tuple[int, ...], tuple[int, ...]]) -> int:
        order, cuts = rule
        edges = zip(order, (0, *cuts), (*cuts, STEPS + 1), strict=True)
        return sum(below[label][stop] - below[label][start] for label, start, stop in edges)

    order, cuts = max(rules, key=right)
    return np.repeat(order, np.diff((0, *cuts, STEPS + 1)))


def _step(overlap: NDArray[np.float64]) -> NDArray[np.int64]:
    return (overlap * STEPS).astype(np.int64)


def dictionary(sentences: Sequence[Sentence]) -> dict[str, str]:
    """The name of each entity → its most frequent type; of equally frequent ones the first."""
    types: dict[str, Counter[str]] = {}
    for text, entities, _ in sentences:
        for start, stop, name in entities:
            types.setdefault(text[start:stop], Counter())[name] += 1
    return {name: counts.most_common(1)[0][0] for name, counts in types.items()}


def longest_matches(text: str, entries: dict[str, str]) -> list[Entity]:
    """The entities of a text by a dictionary of names → types: from left to right, at each place the longest name."""
    longest = max(map(len, entries), default=0)
    entities, start = [], 0
    while start < len(text):
        stops = range(min(start + longest, len(text)), start, -1)
        stop = next((stop for stop in stops if text[start:stop] in entries), None)
        if stop is not None:
            entities.append(Entity(start, stop, entries[text[start:stop]]))
        start = stop or start + 1
    return entities
