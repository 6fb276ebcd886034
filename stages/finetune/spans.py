"""An answer's characters ⇄ the tokens of its context, through the places that the tokenizer gives for each token.

Places are (start, stop) in the text as it was before NFKC, and never go back. One character may be several tokens
(`㌔` is `キ`, `ロ`), one token several characters (`か` and a combining `゛`), and white space no token at all.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

# Tokens from one window of a long context to the next, as in the published experiments.
STEP = 128


class Places(NamedTuple):
    """Where tokens begin and end in their text, both (tokens,)."""

    starts: NDArray[np.int32]
    stops: NDArray[np.int32]


def tokens_of(places: Places, start: int, stop: int) -> tuple[int, int] | None:
    """The first and last token that hold a character of text[start:stop]; None where no token does (white space)."""
    first = int(np.searchsorted(places.stops, start, "right"))
    last = int(np.searchsorted(places.starts, stop, "left")) - 1
    return (first, last) if first <= last else None


def text_of(text: str, places: Places, first: int, last: int) -> str:
    """The text from the first to the last token, as it was written: white space between them with it."""
    return text[places.starts[first] : places.stops[last]]


def windows(tokens: int, room: int) -> list[tuple[int, int]]:
    """Cut so many tokens into windows of `room` tokens at most: (begin, end) of each.

    They overlap by half at least, so that an answer of half a window is whole in one of them.
    """
    step = min(STEP, (room + 1) // 2)
    begins = range(0, max(tokens - room, 0) + step, step)
    return [(begin, min(begin + room, tokens)) for begin in begins]


def best_span(starts: NDArray[Any], ends: NDArray[Any], most: int) -> tuple[float, int, int]:
    """The span of `most` tokens at most whose logits have the highest sum: that sum, its first and its last token.

    starts, ends: logits of a span's first and last token, both (tokens,).
    """
    sums = starts[:, None] + ends[None, :]
    length = np.arange(len(starts))[None, :] - np.arange(len(starts))[:, None]
    best = int(np.argmax(np.where((length >= 0) & (length < most), sums, -np.inf)))
    first, last = divmod(best, len(starts))
    return float(sums[first, last]), first, last
