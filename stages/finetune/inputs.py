"""Texts and a tokenizer → the rows of a model, and the tokens of a part of a text.

Offsets are (start, stop) in the text before NFKC, and never decrease. One character may be several tokens (`㌔` is
`キ`, `ロ`), one token several characters (`か` and a combining `゛`). White space is no token.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

# Texts in one call of the tokenizer.
CHUNK = 1000
# The label of tokens without one: the default ignore_index of PyTorch's cross-entropy.
IGNORED = -100
# BertJapaneseTinySegmenterTokenizer, whose import takes 0.6 s.
Tokenizer = Any
# The first character of each token and the one after its last, (tokens, 2).
Offsets = NDArray[np.int32]


class Row(NamedTuple):
    """`[CLS] first [SEP]` or `[CLS] first [SEP] second [SEP]`."""

    ids: NDArray[np.int32]  # (tokens,)
    segments: NDArray[np.uint8]  # (tokens,) 1 for the second text and its [SEP]


class Input(NamedTuple):
    """The rows of an example, and its label: a number, or an array (see questions.py, entities.py)."""

    rows: list[Row]  # five of JCommonsenseQA, one of other tasks
    label: Any


def encode_row(tokenizer: Tokenizer, first: list[int], second: list[int] | None, max_length: int) -> Row:
    """The row of one or two texts, truncated to `max_length` tokens, the longer text first."""
    encoding = tokenizer.prepare_for_model(
        first, second, truncation="longest_first", max_length=max_length, return_attention_mask=False
    )
    return Row(np.array(encoding["input_ids"], np.int32), np.array(encoding["token_type_ids"], np.uint8))


def token_ids(tokenizer: Tokenizer, texts: list[str]) -> Iterator[list[int]]:
    """The ids of each text, without [CLS] and [SEP]."""
    for start in range(0, len(texts), CHUNK):
        yield from tokenizer(texts[start : start + CHUNK], add_special_tokens=False)["input_ids"]


def ids_and_offsets(tokenizer: Tokenizer, text: str) -> tuple[list[int], Offsets]:
    """The ids of a text, without [CLS] and [SEP], and their offsets."""
    encoding = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
    return encoding["input_ids"], np.array(encoding["offset_mapping"], np.int32).reshape(-1, 2)


def token_span(offsets: Offsets, start: int, stop: int) -> tuple[int, int] | None:
    """The first and last token with a character of text[start:stop]; None for white space."""
    first = int(np.searchsorted(offsets[:, 1], start, "right"))
    last = int(np.searchsorted(offsets[:, 0], stop, "left")) - 1
    return (first, last) if first <= last else None
