"""Words of a shard → token ids of both models."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from stages.tfrecords.tokens import character_ids, look_up, split, wordpiece_ids

SPECIALS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
VOCABULARY = {e: n for n, e in enumerate([*SPECIALS, "京", "都", "府", "の", "##都", "##府", "京都", " "])}


def test_both_models_from_one_split() -> None:
    words = split([["京都の府"], ["京 都"]], frozenset(" "))
    assert [words.different[n] for n in words.flat] == ["京都", "の", "府", "京", " ", "都"]
    wordpiece = look_up(words, "wordpiece_tinysegmenter", VOCABULARY)
    assert wordpiece.ids.tolist() == [11, 8, 7, 5, 6]
    assert wordpiece.starts.tolist() == [True] * 5
    character = look_up(words, "character", VOCABULARY)
    assert character.ids.tolist() == [5, 6, 8, 7, 5, 12, 6], "the bare characters, and the space that has an entry"
    assert character.starts.tolist() == [True, False, True, True, True, True, True]
    assert character.sentences.tolist() == [0, 4, 7]
    assert character.documents.tolist() == [0, 1, 2]


def test_unknown_words_and_characters() -> None:
    assert wordpiece_ids("京都府", VOCABULARY) == [11, 10]
    assert wordpiece_ids("京大", VOCABULARY) == [1], "one character without an entry makes the word unknown"
    assert wordpiece_ids("京" * 101, VOCABULARY) == [1]
    assert character_ids("京大", VOCABULARY) == [5, 1]


def test_sentences_and_documents_without_tokens_are_left_out() -> None:
    words = split([["京"], [" ", " "], ["都", " ", "府"]], frozenset())
    tokens = look_up(words, "character", VOCABULARY)
    assert tokens.ids.tolist() == [5, 6, 7]
    assert tokens.sentences.tolist() == [0, 1, 2, 3]
    assert tokens.documents.tolist() == [0, 1, 3]
    nothing = look_up(split([], frozenset()), "character", VOCABULARY)
    assert nothing.sentences.tolist() == nothing.documents.tolist() == [0]


TEXT = st.text("京都府の大 A1。", max_size=20)


@given(st.lists(st.lists(TEXT, max_size=4), max_size=4), st.sampled_from([frozenset(), frozenset(" ")]))
def test_array_work_equals_the_plain_way(articles: list[list[str]], spaces: frozenset[str]) -> None:
    words = split(articles, spaces)
    for model, rule in (("wordpiece_tinysegmenter", wordpiece_ids), ("character", character_ids)):
        tokens = look_up(words, model, VOCABULARY)
        ids: list[list[list[int]]] = []
        at = 0
        for article in articles:
            sentences = []
            for _ in article:
                a, b = words.sentences[at], words.sentences[at + 1]
                at += 1
                found = [number for n in words.flat[a:b] for number in rule(words.different[n], VOCABULARY)]
                if found:
                    sentences.append(found)
            if sentences:
                ids.append(sentences)
        assert tokens.ids.tolist() == [number for article in ids for sentence in article for number in sentence]
        assert np.diff(tokens.sentences).tolist() == [len(sentence) for article in ids for sentence in article]
        assert np.diff(tokens.documents).tolist() == [len(article) for article in ids]
        assert len(tokens.starts) == len(tokens.ids)
