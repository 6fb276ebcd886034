"""A vocabulary → the kind of each entry: kanji, hiragana, katakana, letters and digits, punctuation."""

import unicodedata

from stages.words.japanese_subwords import SPECIAL_TOKENS

KINDS = ("kanji", "hiragana", "katakana", "letters and digits", "punctuation", "mixed", "other")


def kind(entry: str) -> str:
    """The kind of an entry without its `##`: `mixed` for several kinds (`食べ`), `other` for special entries."""
    if entry in SPECIAL_TOKENS:
        return "other"
    kinds = {_character_kind(character) for character in (entry[2:] if continues_word(entry) else entry)}
    return kinds.pop() if len(kinds) == 1 else "mixed"


def _character_kind(character: str) -> str:
    category, name = unicodedata.category(character), unicodedata.name(character, "")
    # First, since the names of the middle dot and of CJK quotation marks start with KATAKANA and CJK.
    if category[0] in "PSZ":
        return "punctuation"
    if name.startswith(("CJK ", "IDEOGRAPHIC ")):  # with 々, 〆 and 〇
        return "kanji"
    if name.startswith("KATAKANA"):  # with the long vowel mark
        return "katakana"
    if name.startswith("HIRAGANA"):
        return "hiragana"
    return "letters and digits" if category[0] in "LN" else "other"


def continues_word(entry: str) -> bool:
    """Whether an entry continues a word (`##` before it)."""
    return entry.startswith("##") and len(entry) > 2
