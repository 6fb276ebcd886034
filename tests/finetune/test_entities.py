"""Entities → labels of tokens → entities, by characters and by word pieces."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.finetune.entities import (
    Entity,
    Sentence,
    best_tags,
    decode_tags,
    encode_tags,
    tag_constraints,
    tag_labels,
)
from stages.finetune.inputs import Offsets

LABELS = ("O", "B-人名", "I-人名", "B-地名", "I-地名")


def offsets(*pairs: tuple[int, int]) -> Offsets:
    return np.array(pairs, np.int32).reshape(-1, 2)


CHARACTERS = offsets(*((n, n + 1) for n in range(6)))


TWO = [Entity(0, 2, "人名"), Entity(2, 3, "人名")]
NEIGHBOURS = [Entity(1, 3, "人名"), Entity(3, 6, "地名")]


def test_labels_are_those_of_the_types_in_order() -> None:
    sentences = [Sentence("林は北", (Entity(0, 1, "地名"),), ""), Sentence("林", (Entity(0, 1, "人名"),), "")]
    assert tag_labels(sentences) == LABELS
    assert tag_labels([]) == ("O",)


@pytest.mark.parametrize(
    ("entities", "tokens", "tags", "decoded"),
    [
        ([], CHARACTERS, "OOOOOO", []),
        (TWO, CHARACTERS, "BIBOOO", TWO),
        (NEIGHBOURS, CHARACTERS, "OBIbii", NEIGHBOURS),
        # A type that no training sentence has.
        ([Entity(0, 2, "製品名")], CHARACTERS, "OOOOOO", []),
        # A piece of two characters, one of them in the entity.
        ([Entity(1, 3, "人名")], offsets((0, 2), (2, 3)), "BI", [Entity(0, 3, "人名")]),
        # A piece with the end of one entity and the whole next one.
        ([Entity(0, 2, "人名"), Entity(2, 3, "地名")], offsets((0, 1), (1, 3)), "BI", [Entity(0, 3, "人名")]),
        # A piece with the end of one entity and the beginning of the next one.
        (
            [Entity(0, 2, "人名"), Entity(2, 4, "地名")],
            offsets((0, 1), (1, 3), (3, 4)),
            "BIb",
            [Entity(0, 3, "人名"), Entity(3, 4, "地名")],
        ),
        # White space has no token: between the tokens of an entity it is part of it.
        ([Entity(0, 3, "人名")], offsets((0, 1), (2, 3)), "BI", [Entity(0, 3, "人名")]),
        ([Entity(1, 2, "人名")], offsets((0, 1), (2, 3)), "OO", []),
        # One character as two tokens.
        ([Entity(0, 1, "地名")], offsets((0, 1), (0, 1), (1, 2)), "biO", [Entity(0, 1, "地名")]),
    ],
)
def test_entities_become_labels_and_come_back(
    entities: list[Entity], tokens: Offsets, tags: str, decoded: list[Entity]
) -> None:
    numbers = encode_tags(entities, tokens, LABELS)
    assert numbers.tolist() == ["OBIbi".index(tag) for tag in tags]
    assert decode_tags(numbers, tokens, LABELS) == decoded


@pytest.mark.parametrize(
    ("tags", "decoded"),
    [
        ("IIOOOO", [Entity(0, 2, "人名")]),
        ("BiiOOO", [Entity(0, 1, "人名"), Entity(1, 3, "地名")]),
        ("OIOIII", [Entity(1, 2, "人名"), Entity(3, 6, "人名")]),
        ("IB", [Entity(0, 1, "人名"), Entity(1, 2, "人名")]),
    ],
)
def test_an_inside_that_continues_nothing_begins_an_entity(tags: str, decoded: list[Entity]) -> None:
    assert decode_tags(np.array(["OBIbi".index(tag) for tag in tags]), CHARACTERS, LABELS) == decoded


@given(st.integers(0, 4), st.integers(0, 99))
def test_the_best_tags_are_those_of_all_possible_sequences(tokens: int, seed: int) -> None:
    draws = np.random.default_rng(seed)
    logits = draws.normal(size=(tokens, len(LABELS)))
    first, transitions = (np.where(mask, draws.normal(size=mask.shape), -np.inf) for mask in tag_constraints(LABELS))

    def allowed(tags: tuple[int, ...]) -> bool:
        names = ["O", *(LABELS[tag] for tag in tags)]
        return all(b[0] != "I" or (a != "O" and a[2:] == b[2:]) for a, b in itertools.pairwise(names))

    def score(tags: tuple[int, ...]) -> float:
        moves = sum(float(transitions[pair]) for pair in itertools.pairwise(tags))
        return moves + sum(map(float, [*first[list(tags[:1])], *logits[range(tokens), list(tags)]]))

    best = max(filter(allowed, itertools.product(range(len(LABELS)), repeat=tokens)), key=score)
    assert best_tags(logits, first, transitions).tolist() == list(best)
