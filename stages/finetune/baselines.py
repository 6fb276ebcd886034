"""Training and dev set → figures that need no model, in the first metric of their task.

chance: a random label. majority: the most frequent label of the training set. overlap: the characters that two texts
share. dictionary: the entities of the training set, the longest first.
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

# Thresholds are hundredths of the overlap.
STEPS = 100


def baselines(task: Task, train: Examples, dev: Examples) -> dict[str, float | None]:
    """The task's baselines: name → figure on the dev set; None where it is undefined."""
    if task.kind == "span":
        return {}
    if task.kind == "tagging":
        entries = dictionary(cast(list[Sentence], train))
        sentences = cast(list[Sentence], dev)
        matches = [longest_matches(sentence.text, entries) for sentence in sentences]
        return {"dictionary": entity_scores(matches, [sentence.entities for sentence in sentences])["f1"]}
    train, dev = cast(list[Example], train), cast(list[Example], dev)
    labels = np.array([example.label for example in dev])
    if task.kind == "regression":
        return {"overlap": correlations(overlaps(dev)[:, 0], labels)["pearson"]}
    majority = Counter(example.label for example in train).most_common(1)[0][0]
    figures = {"chance": 1 / len(task.labels), "majority": accuracy(np.full(len(labels), majority), labels)["accuracy"]}
    if task.kind == "choice":
        figures["overlap"] = accuracy(overlaps(dev).argmax(1), labels)["accuracy"]
    elif len(task.texts) == 2:
        train_labels = np.array([int(example.label) for example in train])
        rule = best_rule(overlaps(train)[:, 0], train_labels, len(task.labels))
        figures["overlap"] = accuracy(rule[_step(overlaps(dev)[:, 0])], labels)["accuracy"]
    return figures


def overlaps(examples: Sequence[Example]) -> NDArray[np.float64]:
    """The overlap of each example's first text with each of its others, (examples, others), from 0 to 1.

    Dice's coefficient of bags of characters.
    """
    return np.array([[character_f1(first, other) for other in others] for (first, *others), _ in examples])


def best_rule(overlap: NDArray[np.float64], labels: NDArray[np.int64], kinds: int) -> NDArray[np.int64]:
    """A label for each hundredth of the overlap, (STEPS + 1,), with the most correct `labels`, (n,).

    Each of the `kinds` labels has at most one interval of overlaps.
    """
    counts = np.zeros((kinds, STEPS + 2), np.int64)
    np.add.at(counts, (labels, _step(overlap) + 1), 1)
    below = counts.cumsum(1).tolist()
    rules = itertools.product(
        itertools.permutations(range(kinds)), itertools.combinations_with_replacement(range(STEPS + 2), kinds - 1)
    )

    def correct(rule: tuple[tuple[int, ...], tuple[int, ...]]) -> int:
        order, cuts = rule
        edges = zip(order, (0, *cuts), (*cuts, STEPS + 1), strict=True)
        return sum(below[label][stop] - below[label][start] for label, start, stop in edges)

    order, cuts = max(rules, key=correct)
    return np.repeat(order, np.diff((0, *cuts, STEPS + 1)))


def _step(overlap: NDArray[np.float64]) -> NDArray[np.int64]:
    return (overlap * STEPS).astype(np.int64)


def dictionary(sentences: Sequence[Sentence]) -> dict[str, str]:
    """The name of each entity → its most frequent type, the first of equally frequent ones."""
    types: dict[str, Counter[str]] = {}
    for text, entities, _ in sentences:
        for start, stop, name in entities:
            types.setdefault(text[start:stop], Counter())[name] += 1
    return {name: counts.most_common(1)[0][0] for name, counts in types.items()}


def longest_matches(text: str, entries: dict[str, str]) -> list[Entity]:
    """The entities of a text by a dictionary of names → types: from left to right, the longest name first."""
    longest = max(map(len, entries), default=0)
    entities, start = [], 0
    while start < len(text):
        stops = range(min(start + longest, len(text)), start, -1)
        stop = next((stop for stop in stops if text[start:stop] in entries), None)
        if stop is not None:
            entities.append(Entity(start, stop, entries[text[start:stop]]))
        start = stop or start + 1
    return entities
