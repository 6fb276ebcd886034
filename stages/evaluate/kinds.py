"""A vocabulary → the kind of each of its entries: kanji, hiragana, katakana, letters and digits, punctuation."""

import unicodedata
from collections.abc import Iterable, Sequence

KINDS = ("kanji", "hiragana", "katakana", "letters and digits", "punctuation", "mixed", "other")
_SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")


def kind(entry: str) -> str:
    """The kind of an entry, `##` aside; `mixed` for several (`食べ`), `other` for special entries."""
    if entry in _SPECIAL:
        return "other"
    text = entry[2:] if entry.startswith("##") and len(entry) > 2 else entry
    kinds = {_of_character(character) for character in text}
    return kinds.pop() if len(kinds) == 1 else "mixed"


def numbers(entries: Iterable[str]) -> list[int]:
    """The kind of each entry as a number into KINDS."""
    return [KINDS.index(kind(entry)) for entry in entries]


def _of_character(character: str) -> str:
    category, name = unicodedata.category(character), unicodedata.name(character, "")
    # First, since the middle dot of katakana and the quotation marks of CJK are named after them.
    if category[0] in "PSZ":
        return "punctuation"
    if name.startswith(("CJK ", "IDEOGRAPHIC ")):  # with 々, 〆 and 〇
        return "kanji"
    if name.startswith("KATAKANA"):  # with the long vowel mark
        return "katakana"
    if name.startswith("HIRAGANA"):
        return "hiragana"
    return "letters and digits" if category[0] in "LN" else "other"


def continued(entries: Sequence[str]) -> list[bool]:
    """Whether an entry continues a word that another has begun (`##` before it)."""
    return [entry.startswith("##") and len(entry) > 2 for entry in entries]
