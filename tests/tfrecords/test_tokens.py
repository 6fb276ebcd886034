"""Sentences of a block → token ids of both models."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from stages.tfrecords.blocks import look_up, split
from stages.words.compiled_words import CompiledVocabulary
from stages.words.japanese_subwords import normalise, word_spans, wordpieces

SPECIALS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
ENTRIES = {e: n for n, e in enumerate([*SPECIALS, "京", "都", "府", "の", "##都", "##府", "京都", " "])}
WORDPIECE, CHARACTER = CompiledVocabulary(ENTRIES, by_character=False), CompiledVocabulary(ENTRIES, by_character=True)


def test_both_models_from_one_split() -> None:
    words = split([["京都の府"], ["京 都"]])
    wordpiece = look_up(words, WORDPIECE)
    assert wordpiece.ids.tolist() == [11, 8, 7, 5, 6]
    assert wordpiece.starts.tolist() == [True] * 5
    character = look_up(words, CHARACTER)
    assert character.ids.tolist() == [5, 6, 8, 7, 5, 12, 6], "the bare characters, and the space that has an entry"
    assert character.starts.tolist() == [True, False, True, True, True, True, True]
    assert character.sentences.tolist() == [0, 4, 7]
    assert character.documents.tolist() == [0, 1, 2]


def test_sentences_are_normalised() -> None:
    assert look_up(split([["\uf964都"]]), CHARACTER).ids.tolist() == [1, 6]
    assert look_up(split([["京　都"]]), CHARACTER).ids.tolist() == [5, 12, 6], "a wide space is a space"


def test_sentences_and_documents_without_tokens_are_left_out() -> None:
    tokens = look_up(split([["京"], [" ", " "], ["都", " ", "府"]]), WORDPIECE)
    assert tokens.ids.tolist() == [5, 6, 7]
    assert tokens.sentences.tolist() == [0, 1, 2, 3]
    assert tokens.documents.tolist() == [0, 1, 3]
    nothing = look_up(split([]), WORDPIECE)
    assert nothing.sentences.tolist() == nothing.documents.tolist() == [0]
    assert nothing.ids.dtype == np.int32


def expected(sentence: str, by_character: bool) -> list[tuple[int, bool]]:
    """Ids and word starts by the rules as they are written for one text."""
    text = normalise(sentence)
    found = []
    for begin, end in word_spans(text, frozenset(" ") if by_character else frozenset()):
        pieces = list(text[begin:end]) if by_character else wordpieces(text[begin:end], ENTRIES) or ["[UNK]"]
        found += [(ENTRIES.get(piece, 1), place == 0) for place, piece in enumerate(pieces)]
    return found


@given(st.lists(st.lists(st.text("京都府の大 A1。", max_size=20), max_size=4), max_size=4))
def test_a_block_equals_its_sentences_one_by_one(articles: list[list[str]]) -> None:
    words = split(articles)
    for by_character, vocabulary in ((False, WORDPIECE), (True, CHARACTER)):
        tokens = look_up(words, vocabulary)
        kept = [[found for text in article if (found := expected(text, by_character))] for article in articles]
        kept = [article for article in kept if article]
        flat = [token for article in kept for sentence in article for token in sentence]
        assert list(zip(tokens.ids.tolist(), tokens.starts.tolist(), strict=True)) == flat
        assert np.diff(tokens.sentences).tolist() == [len(sentence) for article in kept for sentence in article]
        assert np.diff(tokens.documents).tolist() == [len(article) for article in kept]
