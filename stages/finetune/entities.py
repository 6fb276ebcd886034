"""Entities ⇄ a label for each token: B-TYPE starts an entity, I-TYPE continues it, O is outside."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stages.finetune.examples import Entity, Sentence
from stages.finetune.spans import Offsets, token_span


def tag_labels(sentences: Sequence[Sentence]) -> tuple[str, ...]:
    """The labels for all types of entities in the sentences, in order of the types; O is number 0."""
    types = sorted({entity.type for sentence in sentences for entity in sentence.entities})
    return ("O", *(f"{edge}-{name}" for name in types for edge in "BI"))


def encode_tags(entities: Sequence[Entity], offsets: Offsets, labels: Sequence[str]) -> NDArray[np.int64]:
    """Entities → numbers of `labels`, (tokens,). A token with characters of two entities belongs to the first.

    An entity whose type has no label gets O.
    """
    numbers = {label: number for number, label in enumerate(labels)}
    tags = np.zeros(len(offsets.starts), np.int64)
    free = 0
    for entity in entities:
        tokens = token_span(offsets, entity.start, entity.stop)
        if tokens and tokens[1] >= free and f"B-{entity.type}" in numbers:
            first, stop = max(tokens[0], free), tokens[1] + 1
            tags[first] = numbers[f"B-{entity.type}"]
            tags[first + 1 : stop] = numbers[f"I-{entity.type}"]
            free = stop
    return tags


def tag_constraints(labels: Sequence[str]) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Which labels may be first (labels,), and which may follow which (label, next label).

    I-TYPE follows B-TYPE or I-TYPE only.
    """
    inside = np.array([label[:1] == "I" for label in labels])
    types = np.array([label[2:] for label in labels])
    return ~inside, ~inside | (types[:, None] == types)  # O has no type: no I follows it


def best_tags(logits: NDArray[Any], first: NDArray[Any], transitions: NDArray[Any]) -> NDArray[np.int64]:
    """The sequence of labels with the highest score, by Viterbi's algorithm: (tokens, labels) → (tokens,).

    first (labels,): scores of the first label; transitions (label, next label): scores of a label after another.
    """
    if not len(logits):
        return np.zeros(0, np.int64)
    scores = first + logits[0]
    pointers = []
    for row in logits[1:]:
        paths = scores[:, None] + transitions
        pointers.append(paths.argmax(0))
        scores = paths.max(0) + row
    tags = [int(scores.argmax())]
    for previous in reversed(pointers):
        tags.append(int(previous[tags[-1]]))
    return np.array(tags[::-1], np.int64)


def decode_tags(tags: NDArray[Any], offsets: Offsets, labels: Sequence[str]) -> list[Entity]:
    """Numbers of `labels` for the first len(tags) tokens → entities.

    An I-TYPE that continues no entity of its type starts one: the rule of conlleval.
    """
    entities: list[Entity] = []
    previous = ""
    for token, number in enumerate(tags):
        label, name = labels[number][:1], labels[number][2:]
        start, stop = int(offsets.starts[token]), int(offsets.stops[token])
        if label == "I" and name == previous:
            entities[-1] = entities[-1]._replace(stop=stop)
        elif label != "O":
            entities.append(Entity(start, stop, name))
        previous = name
    return entities
