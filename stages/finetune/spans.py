"""Characters of an answer ⇄ tokens of its context, by the tokenizer's offsets.

Offsets are (start, stop) in the text before NFKC, and never decrease. One character may be several tokens (`㌔` is
`キ`, `ロ`), one token several characters (`か` and a combining `゛`). White space is no token.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

# Tokens from one window of a long context to the next, as in the published experiments.
STEP = 128


class Offsets(NamedTuple):
    """The first character of each token and the one after its last, both (tokens,)."""

    starts: NDArray[np.int32]
    stops: NDArray[np.int32]


def token_span(offsets: Offsets, start: int, stop: int) -> tuple[int, int] | None:
    """The first and last token with a character of text[start:stop]; None for white space."""
    first = int(np.searchsorted(offsets.stops, start, "right"))
    last = int(np.searchsorted(offsets.starts, stop, "left")) - 1
    return (first, last) if first <= last else None


def span_text(text: str, offsets: Offsets, first: int, last: int) -> str:
    """The original text from the first to the last token, with the white space between them."""
    return text[offsets.starts[first] : offsets.stops[last]]


def windows(tokens: int, size: int) -> list[tuple[int, int]]:
    """(start, stop) of windows of at most `size` tokens that cover `tokens` tokens.

    They overlap by at least half, so that one of them holds all of any answer of half a window.
    """
    step = min(STEP, (size + 1) // 2)
    starts = range(0, max(tokens - size, 0) + step, step)
    return [(start, min(start + size, tokens)) for start in starts]


def best_span(starts: NDArray[Any], ends: NDArray[Any], limit: int) -> tuple[float, int, int]:
    """The span of at most `limit` tokens with the highest sum of logits: that sum, its first and its last token.

    starts, ends: logits of a span's first and last token, both (tokens,).
    """
    sums = starts[:, None] + ends[None, :]
    length = np.arange(len(starts))[None, :] - np.arange(len(starts))[:, None]
    best = int(np.argmax(np.where((length >= 0) & (length < limit), sums, -np.inf)))
    first, last = divmod(best, len(starts))
    return float(sums[first, last]), first, last
