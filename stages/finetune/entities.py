"""NER: sentences with entities. Entities ⇄ a label a token: B-TYPE starts an entity, I-TYPE continues it, O is outside.

A file is one JSON array of sentences. Other fields are ignored.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections import Counter
from collections.abc import Collection, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from stages.command.refusal import Refusal
from stages.finetune.examples import TaskData, excerpt, field_objects, field_text, objects
from stages.finetune.inputs import IGNORED, Input, Offsets, Tokenizer, encode_row, ids_and_offsets, token_span
from stages.finetune.metrics import entity_counts, entity_scores, ratio_interval
from stages.finetune.tasks import Task
from stages.handover.manifests import read_json


class Entity(NamedTuple):
    """A name in a text: text[start:stop]."""

    start: int
    stop: int
    type: str


class Sentence(NamedTuple):
    """A text with its entities in order, without overlaps. `group`: its Wikipedia page."""

    text: str
    entities: tuple[Entity, ...]
    group: str

    @property
    def part(self) -> str:
        """A file of NER does not say which sentences are measured on (see data.py)."""
        return ""


def read_sentences(path: str, task: Task) -> list[Sentence]:
    """The sentences of a file. Refuses an invalid one with its location and the expected form."""
    document = read_json(path)
    if not isinstance(document, list):
        raise Refusal(f"{path} is not a {task.title} file: it must be one JSON array of objects with text and entities")
    sentences = [_sentence(value, location) for value, location in objects(document, f"{path}, ")]
    if not sentences:
        raise Refusal(f"{path} holds no sentences of {task.title}")
    return sentences


def _sentence(value: dict[str, Any], location: str) -> Sentence:
    text = field_text(value, "text", location)
    entities: list[tuple[Entity, str]] = []
    for entry, place in field_objects(value, "entities", f"{location}."):
        name, kind, span = field_text(entry, "name", place), field_text(entry, "type", place), entry.get("span")
        if not (isinstance(span, list) and len(span) == 2 and all(type(edge) is int for edge in span)):
            raise Refusal(
                f"{place}: span is {excerpt(span)}; it must be the entity's first character and the one after its "
                "last, counted from 0: [0, 7]"
            )
        start, stop = span
        if start < 0 or text[start:stop] != name:
            content = excerpt(text[max(start, 0) : stop])
            raise Refusal(f"{place}: span {span} of the text is {content}, not {excerpt(name)}")
        entities.append((Entity(start, stop, kind), place))
    entities.sort()
    for (previous, _), (entity, place) in itertools.pairwise(entities):
        if entity.start < previous.stop:
            raise Refusal(
                f"{place}: span {[entity.start, entity.stop]} overlaps {[previous.start, previous.stop]}; a character "
                "can be in one entity only"
            )
    return Sentence(text, tuple(entity for entity, _ in entities), str(value.get("curid", text)))


def tag_labels(sentences: Sequence[Sentence]) -> tuple[str, ...]:
    """The labels for all types of entities in the sentences, in order of the types; O is number 0."""
    types = sorted({entity.type for sentence in sentences for entity in sentence.entities})
    return ("O", *(f"{edge}-{name}" for name in types for edge in "BI"))


def encode_tags(entities: Sequence[Entity], offsets: Offsets, labels: Sequence[str]) -> NDArray[np.int64]:
    """Entities → numbers of `labels`, (tokens,). A token with characters of two entities belongs to the first.

    An entity whose type has no label gets O.
    """
    numbers = {label: number for number, label in enumerate(labels)}
    tags = np.zeros(len(offsets), np.int64)
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
        start, stop = offsets[token].tolist()
        if label == "I" and name == previous:
            entities[-1] = entities[-1]._replace(stop=stop)
        elif label != "O":
            entities.append(Entity(start, stop, name))
        previous = name
    return entities


class EntityData(TaskData[Sentence]):
    """The labels of the task are those of the training data."""

    def __init__(self, task: Task, train: list[Sentence], dev: list[Sentence], rule: str = "") -> None:
        super().__init__(dataclasses.replace(task, labels=tag_labels(train)), train, dev, rule)

    def baselines(self) -> dict[str, float | None]:
        """dictionary: the entities of the training set, the longest first."""
        entries = dictionary(self.train)
        matches = [longest_matches(sentence.text, entries) for sentence in self.dev]
        return {"dictionary": entity_scores(matches, [sentence.entities for sentence in self.dev])["f1"]}

    def encode(self, tokenizer: Tokenizer, max_length: int) -> tuple[list[Input], list[Input]]:
        train, _ = encode_sentences(tokenizer, self.train, self.task.labels, max_length)
        dev, self.offsets = encode_sentences(tokenizer, self.dev, self.task.labels, max_length)
        return train, dev

    def figures(self, outputs: Any, model: Any) -> dict[str, Any]:
        """Also `types`: figures by type. outputs: logits (sentences, L, labels), [CLS] first."""
        first, transitions = model.scores()
        entities = []
        for logits, offsets in zip(outputs, self.offsets, strict=True):
            tags = best_tags(logits[1 : 1 + len(offsets)], first, transitions)
            entities.append(decode_tags(tags, offsets, self.task.labels))
        truth = [sentence.entities for sentence in self.dev]
        counts = entity_counts(entities, truth)
        interval = ratio_interval([2 * correct for correct, *_ in counts], [a + b for _, a, b in counts])
        types = scores_by_type(entities, truth)
        return {"dev": entity_scores(entities, truth), "interval": interval, "types": types}


def encode_sentences(
    tokenizer: Tokenizer, sentences: Sequence[Sentence], labels: Sequence[str], max_length: int
) -> tuple[list[Input], list[Offsets]]:
    """A row for each sentence, and the offsets of its tokens in the text.

    The label of a row is an array of numbers of `labels`, (tokens of the row,), IGNORED for [CLS] and [SEP]. A row is
    truncated to `max_length` tokens. Entities behind that are neither learned nor predicted.
    """
    inputs, all_offsets = [], []
    for sentence in sentences:
        ids, offsets = ids_and_offsets(tokenizer, sentence.text)
        offsets = offsets[: max_length - 2]
        tags = np.pad(encode_tags(sentence.entities, offsets, labels), 1, constant_values=IGNORED)
        inputs.append(Input([encode_row(tokenizer, ids, None, max_length)], tags))
        all_offsets.append(offsets)
    return inputs, all_offsets


def scores_by_type(
    predictions: Sequence[Collection[Entity]], truth: Sequence[Collection[Entity]]
) -> dict[str, dict[str, float | None]]:
    """Type → the number of its entities, and its `entity_scores`."""
    scores = {}
    for name in sorted({entity.type for entities in (*predictions, *truth) for entity in entities}):
        a, b = ([[entity for entity in each if entity.type == name] for each in side] for side in (predictions, truth))
        scores[name] = {"entities": sum(map(len, b)), **entity_scores(a, b)}
    return scores


def dictionary(sentences: Sequence[Sentence]) -> dict[str, str]:
    """The name of each entity → its most frequent type, the first of equally frequent ones."""
    types: dict[str, Counter[str]] = {}
    for sentence in sentences:
        for start, stop, name in sentence.entities:
            types.setdefault(sentence.text[start:stop], Counter())[name] += 1
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
