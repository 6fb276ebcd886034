"""Answers → tokens → answers, in text that NFKC changes."""

import unicodedata

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.finetune.inputs import Offsets, token_span
from stages.finetune.questions import STEP, best_span, span_text, windows
from stages.words.tokenization import BertJapaneseTinySegmenterTokenizer as Tokenizer

# Characters that become several, several that become one, white space, full-width digits, a special token.
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
    """A character vocabulary, and a WordPiece vocabulary with entries of several characters."""
    folder = tmp_path_factory.mktemp("spans")
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    plain = sorted(set(unicodedata.normalize("NFKC", "".join(PIECES))) - {" "})
    entries = {
        "character": plain,
        "wordpiece": [*plain, *(f"##{character}" for character in plain), "東京", "東京都", "##キロ", "みどり"],
    }
    tokenizers = []
    for kind, pieces in entries.items():
        (folder / f"{kind}.txt").write_text("\n".join([*special, *pieces]) + "\n", encoding="utf-8")
        tokenizers.append(Tokenizer(folder / f"{kind}.txt", subword_tokenizer_type=kind))
    return tokenizers


def offsets_of(tokenizer: Tokenizer, text: str) -> Offsets:
    encoding = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
    return np.array(encoding["offset_mapping"], np.int32).reshape(-1, 2)


@settings(max_examples=300)
@given(texts, st.data())
def test_an_answer_is_the_fewest_tokens_that_hold_it(
    tokenizers: list[Tokenizer], text: str, data: st.DataObject
) -> None:
    start = data.draw(st.integers(0, len(text) - 1))
    stop = data.draw(st.integers(start + 1, len(text)))
    for tokenizer in tokenizers:
        offsets = offsets_of(tokenizer, text)
        assert (np.diff(offsets, axis=0) >= 0).all()
        holding = [n for n, (a, b) in enumerate(offsets) if a < stop and start < b]
        span = token_span(offsets, start, stop)
        assert span == ((holding[0], holding[-1]) if holding else None)
        if span and offsets[span[0], 0] == start and offsets[span[1], 1] == stop:
            assert span_text(text, offsets, *span) == text[start:stop]
        if span is None:
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
    offsets = offsets_of(by_character, text)
    start = text.index(answer)
    span = token_span(offsets, start, start + len(answer))
    assert span is not None
    assert by_character.tokenize(text)[span[0] : span[1] + 1] == tokens
    assert span_text(text, offsets, *span) == recovered


def test_a_word_piece_is_not_cut(tokenizers: list[Tokenizer]) -> None:
    text = "東京は"
    offsets = offsets_of(tokenizers[1], text)
    assert token_span(offsets, 1, 2) == (0, 0)
    assert span_text(text, offsets, 0, 0) == "東京"


@given(st.integers(0, 2000), st.integers(1, 400))
def test_windows_hold_every_token_and_overlap(tokens: int, size: int) -> None:
    spans = windows(tokens, size)
    assert spans[0][0] == 0
    assert spans[-1][1] == tokens
    assert all(0 <= stop - start <= size for start, stop in spans)
    step = min(STEP, (size + 1) // 2)
    assert [start for start, _ in spans] == list(range(0, step * len(spans), step))
    # All but the last are full, and the last one has something new.
    assert all(stop - start == size for start, stop in spans[:-1])
    assert len(spans) == 1 or spans[-2][1] < tokens
    length = size // 2 + 1
    wholes = {first for start, stop in spans for first in range(start, stop - length + 1)}
    assert wholes == set(range(tokens - length + 1)), "an answer is whole in no window"


@given(
    st.integers(1, 8).flatmap(lambda n: st.tuples(*[st.lists(st.integers(-9, 9), min_size=n, max_size=n)] * 2)),
    st.integers(1, 9),
)
def test_the_best_span_is_the_best_of_all(logits: tuple[list[int], list[int]], limit: int) -> None:
    starts, ends = (np.array(side, np.float32) for side in logits)
    allowed = [(a, b) for a in range(len(starts)) for b in range(a, min(a + limit, len(starts)))]
    score, first, last = best_span(starts, ends, limit)
    assert (first, last) in allowed
    assert score == starts[first] + ends[last] == max(starts[a] + ends[b] for a, b in allowed)
