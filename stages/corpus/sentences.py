"""Clean text → sentences, and the reason to drop one."""

import re

# A sentence ends behind a run of sentence-final marks; the last one of a text may have none.
_SENTENCE = re.compile("[^。?!]*[。?!]+|[^。?!]+")
_EQUATION = "\\displaystyle"

REASONS = ("too_short", "too_long", "equation")


def split(text: str) -> list[str]:
    """The sentences of a clean text in their order, trimmed, none empty."""
    return [sentence for piece in _SENTENCE.findall(text) if (sentence := piece.strip())]


def reason_to_drop(sentence: str, min_length: int, max_length: int) -> str | None:
    """One of `REASONS`, or None for a sentence to keep. Lengths are in characters, both ends included."""
    if len(sentence) < min_length:
        return "too_short"
    if len(sentence) > max_length:
        return "too_long"
    if _EQUATION in sentence:
        return "equation"
    return None
