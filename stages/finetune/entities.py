"""Entities ⇄ a label for each token: B-TYPE begins an entity, I-TYPE continues it, O is in none."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stages.finetune.examples import Entity, Sentence
from stages.finetune.spans import Places, tokens_of


def labels_of(sentences: Sequence[Sentence]) -> tuple[str, ...]:
    """The labels for all types of entities in the sentences, in order of the types; O is number 0."""
    types = sorted({entity.type for sentence in sentences for entity in sentence.entities})
    return ("O", *(f"{edge}-{name}" for name in types for edge in "BI"))


def tags_of(entities: Sequence[Entity], places: Places, labels: Sequence[str]) -> NDArray[np.int64]:
    """Numbers of `labels`, (tokens,). A token with characters of two entities belongs to the first.

    An entity whose type has no label is not labelled.
    """
    numbers = {label: number for number, label in enumerate(labels)}
    tags = np.zeros(len(places.starts), np.int64)
    free = 0
    for entity in entities:
        tokens = tokens_of(places, entity.start, entity.stop)
        if tokens and tokens[1] >= free and f"B-{entity.type}" in numbers:
            first, stop = max(tokens[0], free), tokens[1] + 1
            tags[first] = numbers[f"B-{entity.type}"]
            tags[first + 1 : stop] = numbers[f"I-{entity.type}"]
            free = stop
    return tags


def possible(labels: Sequence[str]) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Which labels may be the first (labels,), and which may stand behind which (labels before, labels behind).

    An I continues a B or an I of its type.
    """
    inside = np.array([label[:1] == "I" for label in labels])
    types = np.array([label[2:] for label in labels])
    return ~inside, ~inside | (types[:, None] == types)  # O has no type: no I continues it


def best_tags(logits: NDArray[Any], first: NDArray[Any], following: NDArray[Any]) -> NDArray[np.int64]:
    """The sequence of labels with the highest score, by Viterbi's algorithm: (tokens, labels) → (tokens,).

    first (labels,), following (labels before, labels behind): scores of a label as the first one, and of transitions.
    """
    if not len(logits):
        return np.zeros(0, np.int64)
    scores = first + logits[0]
    before = []
    for row in logits[1:]:
        ways = scores[:, None] + following
        before.append(ways.argmax(0))
        scores = ways.max(0) + row
    tags = [int(scores.argmax())]
    for places in reversed(before):
        tags.append(int(places[tags[-1]]))
    return np.array(tags[::-1], np.int64)


def entities_of(tags: NDArray[Any], places: Places, labels: Sequence[str]) -> list[Entity]:
    """The entities of the first len(tags) tokens. tags: numbers of `labels`.

    An I-TYPE that continues nothing of its type begins an entity: the rule of conlleval.
    """
    entities: list[Entity] = []
    before = ""
    for token, number in enumerate(tags):
        label, name = labels[number][:1], labels[number][2:]
        start, stop = int(places.starts[token]), int(places.stops[token])
        if label == "I" and name == before:
            entities[-1] = entities[-1]._replace(stop=stop)
        elif label != "O":
            entities.append(Entity(start, stop, name))
        before = name
    return entities
