"""An article's raw text and title → its clean text, by the rules of the published corpus step.

The order of the rules: NFKC; of the characters that are not printable, white space becomes a space, U+2029 a line end
(the end of a paragraph), and all others vanish; `[12]`; `[要…]`; `{{…}}`; the breadcrumb, up to the first ` > `
followed by the title, if a parent comes before; the first ` ^ ` and all text after it; `[要出典]`, `[リンク切れ]`,
`[…?]`; white space folded to one space, or to one line end where it has any, and trimmed. Every step takes time linear
in the text.

The rules are C (`cleaning.c`). The normal form of a character comes from `unicodedata` and `str.isprintable` of this
Python, read when the first character of its block of 256 occurs. Texts with characters that may combine with the one
before them (1 in 300 of Japanese Wikipedia) are first normalised by `unicodedata`.
"""

import ctypes
import os
import sys
import unicodedata
from typing import Literal

from stages import compiled
from stages.words.normal_forms import nfkc

_CODE_POINTS = sys.maxunicode + 1
# 1,237 characters have a longer form in Unicode 14; their points and lengths are 4,342 numbers.
_LONGER_FORMS = 1 << 16

# The flags and results of cleaning.c.
_JOINS, _LONGER, _NOTHING, _DECIMAL = 1 << 31, 1 << 30, 1 << 29, 1 << 28
_UNKNOWN, _JOINING, _NO_ROOM = -1, -2, -3
# The number of the block with the conjoining jamo.
JAMO = 0x11

# The end of a paragraph in a raw text; in a clean one it is a line end.
PARAGRAPH = "\u2029"


class Cleaner:
    """Cleans one text at a time. `points` starts with the last clean text; `address` is the address of `points`."""

    def __init__(self) -> None:
        self._clean = compiled.library(os.path.join(os.path.dirname(__file__), "cleaning.c")).clean
        self._clean.restype = ctypes.c_int64
        self._clean.argtypes = [
            ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int64, ctypes.c_int64, ctypes.c_bool, ctypes.c_void_p,
            ctypes.c_int64,
        ]  # fmt: skip
        self._forms = (ctypes.c_uint32 * (_CODE_POINTS + _LONGER_FORMS))()
        self._forms_address = ctypes.addressof(self._forms)
        self._longer_end = _CODE_POINTS
        self._blocks: set[int] = set()
        self._make_room(1 << 16)

    def clean(self, text: str, title: str | None = None) -> int:
        """Write the clean text to `points`, which has room for one more point. Returns its length."""
        title = title or ""
        normalised = False
        while True:
            raw = (title + text).encode("utf-32-le", "surrogatepass")
            length: int = self._clean(
                self._forms_address, raw, len(title), len(text), normalised, self.address, len(self.points)
            )
            if length >= 0:
                return length
            if length == _UNKNOWN:
                self._fill_forms(title + text)
            elif length == _JOINING:
                text, title, normalised = nfkc(text), nfkc(title), True
            else:
                assert length == _NO_ROOM
                self._make_room(2 * (len(self.points) + len(raw) // 4))

    def _make_room(self, room: int) -> None:
        self.points = (ctypes.c_uint32 * room)()
        self.address = ctypes.addressof(self.points)

    def _fill_forms(self, text: str) -> None:
        """Fill in the forms of all characters in the blocks of the text, and in the blocks of their forms."""
        pending = set(text)
        while blocks := {ord(character) >> 8 for character in pending} - self._blocks:
            self._blocks |= blocks
            for block in blocks:
                codes = range(block << 8, (block + 1) << 8)
                characters = "".join(map(chr, codes))
                # Ideographs, most characters, are their own forms. Marks are no letters, but conjoining jamo are.
                if characters.isalpha() and unicodedata.is_normalized("NFKD", characters) and block != JAMO:
                    self._forms[codes.start : codes.stop] = list(codes)
                    continue
                forms = ["".join(map(_printable, form)) for form in _forms_of("NFKC", characters)]
                pending.update(*forms)
                self._forms[codes.start : codes.stop] = [
                    self._entry(form) | _JOINS * is_joining(decomposed[0])
                    for form, decomposed in zip(forms, _forms_of("NFKD", characters), strict=True)
                ]

    def _entry(self, form: str) -> int:
        if not form:
            return _NOTHING
        if len(form) == 1:
            return ord(form) | _DECIMAL * form.isdecimal()
        entry, end = self._longer_end, self._longer_end + 1 + len(form)
        self._forms[entry:end] = [len(form), *map(ord, form)]
        self._longer_end = end
        return entry | _LONGER


def _printable(character: str) -> str:
    if character.isprintable():
        return character
    return "\n" if character == PARAGRAPH else " " * character.isspace()


def _forms_of(form: Literal["NFKC", "NFKD"], characters: str) -> list[str]:
    """The normal form of each character alone, by one call: no character combines with the separator."""
    separator = "\n" if "\n" not in characters else "一"
    return unicodedata.normalize(form, separator.join(characters)).split(separator)


def is_joining(first: str) -> bool:
    """Whether a character whose decomposition starts with `first` may combine in NFKC with the ones before it."""
    return unicodedata.category(first)[0] == "M" or "\u1100" <= first <= "\u11ff"
