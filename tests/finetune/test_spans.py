"""Answers → tokens → answers, through what NFKC does to the text between."""

import unicodedata

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.finetune.spans import STEP, Places, best_span, text_of, tokens_of, windows
from stages.words.tokenization import BertJapaneseTinySegmenterTokenizer as Tokenizer

# Among them: what becomes several characters, what several become, white space, full-width digits, a special token.
PIECES = [
    *"東京都はみどり湖で、。12ab",
    "㌔",
    "㍼",
    "１",
    "２",
    "℃",
    "ｶﾞ",
    "か\u3099",
    "ﾗ",
    " ",
    "\u3000",
    "[SEP]",
    "𠮷",
]
texts = st.lists(st.sampled_from(PIECES), min_size=1, max_size=20).map("".join)


@pytest.fixture(scope="module")
def tokenizers(tmp_path_factory: pytest.TempPathFactory) -> list[Tokenizer]:
    """By characters, and by words of which some hold several characters."""
    folder = tmp_path_factory.mktemp("spans")
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    plain = sorted(set(unicodedata.normalize("NFKC", "".join(PIECES))) - {" "})
    entries = {
        "character": plain,
        "wordpiece": [*plain, *(f"##{character}" for character in plain), "東京", "東京都", "##キロ", "みどり"],
    }
    made = []
    for kind, of_kind in entries.items():
        (folder / f"{kind}.txt").write_text("\n".join([*special, *of_kind]) + "\n", encoding="utf-8")
        made.append(Tokenizer(folder / f"{kind}.txt", subword_tokenizer_type=kind))
    return made


def places_of(tokenizer: Tokenizer, text: str) -> Places:
    offsets = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)["offset_mapping"]
    pairs = np.array(offsets, np.int32).reshape(-1, 2)
    return Places(pairs[:, 0], pairs[:, 1])


@settings(max_examples=300)
@given(texts, st.data())
def test_an_answer_is_the_fewest_tokens_that_hold_it(
    tokenizers: list[Tokenizer], text: str, data: st.DataObject
) -> None:
    start = data.draw(st.integers(0, len(text) - 1))
    stop = data.draw(st.integers(start + 1, len(text)))
    for tokenizer in tokenizers:
        places = places_of(tokenizer, text)
        assert (np.diff(places.starts) >= 0).all()
        assert (np.diff(places.stops) >= 0).all()
        holding = [n for n, (a, b) in enumerate(zip(*places, strict=True)) if a < stop and start < b]
        found = tokens_of(places, start, stop)
        assert found == ((holding[0], holding[-1]) if holding else None)
        if found and places.starts[found[0]] == start and places.stops[found[1]] == stop:
            assert text_of(text, places, *found) == text[start:stop]
        if found is None:
            assert not text[start:stop].strip()


@pytest.mark.parametrize(
    ("text", "answer", "tokens", "recovered"),
    [
        ("湖 [SEP] 湖は１２㌔", "１２㌔", ["1", "2", "キ", "ロ"], "１２㌔"),
        ("湖 [SEP] 湖は１２㌔", "湖 [SEP] 湖", ["湖", "[SEP]", "湖"], "湖 [SEP] 湖"),
        ("東京 都 は", "京 都", ["京", "都"], "京 都"),
        ("東京 都 は", " 都 ", ["都"], "都"),
        ("か\u3099１", "か", ["が"], "か\u3099"),
        ("２℃", "℃", ["°", "C"], "℃"),
        ("ｶﾞﾗ", "ｶﾞﾗ", ["ガ", "ラ"], "ｶﾞﾗ"),
    ],
)
def test_answers_come_back_as_they_were_written(
    tokenizers: list[Tokenizer], text: str, answer: str, tokens: list[str], recovered: str
) -> None:
    by_character = tokenizers[0]
    places = places_of(by_character, text)
    start = text.index(answer)
    found = tokens_of(places, start, start + len(answer))
    assert found is not None
    assert by_character.tokenize(text)[found[0] : found[1] + 1] == tokens
    assert text_of(text, places, *found) == recovered


def test_a_word_piece_is_not_cut(tokenizers: list[Tokenizer]) -> None:
    text = "東京は"
    places = places_of(tokenizers[1], text)
    assert tokens_of(places, 1, 2) == (0, 0)
    assert text_of(text, places, 0, 0) == "東京"


@given(st.integers(0, 2000), st.integers(1, 400))
def test_windows_hold_every_token_and_overlap(tokens: int, room: int) -> None:
    found = windows(tokens, room)
    assert found[0][0] == 0
    assert found[-1][1] == tokens
    assert all(0 <= end - begin <= room for begin, end in found)
    step = min(STEP, (room + 1) // 2)
    assert [begin for begin, _ in found] == list(range(0, step * len(found), step))
    # All but the last are full, and the last one has something new.
    assert all(end - begin == room for begin, end in found[:-1])
    assert len(found) == 1 or found[-2][1] < tokens
    length = room // 2 + 1
    wholes = {first for begin, end in found for first in range(begin, end - length + 1)}
    assert wholes == set(range(tokens - length + 1)), "an answer is whole in no window"


@given(
    st.integers(1, 8).flatmap(lambda n: st.tuples(*[st.lists(st.integers(-9, 9), min_size=n, max_size=n)] * 2)),
    st.integers(1, 9),
)
def test_the_best_span_is_the_best_of_all(logits: tuple[list[int], list[int]], most: int) -> None:
    starts, ends = (np.array(side, np.float32) for side in logits)
    allowed = [(a, b) for a in range(len(starts)) for b in range(a, min(a + most, len(starts)))]
    score, first, last = best_span(starts, ends, most)
    assert (first, last) in allowed
    assert score == starts[first] + ends[last] == max(starts[a] + ends[b] for a, b in allowed)
