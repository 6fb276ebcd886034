"""An article's raw text and title → its clean text, as the published corpus step makes it.

Order and rules: NFKC and printable characters only; `[12]`; `[要…]`; `{{…}}`; the breadcrumb, up to the first ` > `
with the title behind it, if a parent stands before; the first ` ^ ` and all behind it; `[要出典]`, `[リンク切れ]`,
`[…?]`; white space folded to single spaces and trimmed. Every step takes time linear in the text, whatever the text.

The rules are C (`cleaning.c`). What normalisation makes of a character comes from this Python's `unicodedata` and
`str.isprintable`, read when the character's block of 256 is first met; texts with characters that may join the one
before them (1 in 300 of Japanese Wikipedia) are normalised by `unicodedata` before.
"""

import ctypes
import os
import re
import sys
import unicodedata
from itertools import groupby
from typing import Literal

from stages import compiled

SOURCE = os.path.join(os.path.dirname(__file__), "cleaning.c")

_CODE_POINTS = sys.maxunicode + 1
# 1,237 characters have a longer form in Unicode 14; their points and lengths are 4,342 numbers.
_LONGER_FORMS = 1 << 16

# As cleaning.c has them.
_JOINS, _LONGER, _NOTHING, _DECIMAL = 1 << 31, 1 << 30, 1 << 29, 1 << 28
_UNKNOWN, _JOINED, _NO_ROOM = -1, -2, -3
# The block of the conjoining jamo.
JAMO = 0x11

# Of whatever may hold marks: all but ASCII, kana, common punctuation and ideographs.
_LONG_RUN = re.compile(r"[^\n -~、-〠ぁ-ゖァ-ー一-鿿]{1000,}")


class Cleaner:
    """`clean` texts one after the other; `points` holds the last one, as code points from its front on."""

    def __init__(self) -> None:
        self._clean = compiled.library(SOURCE).clean
        self._clean.restype = ctypes.c_int64
        self._clean.argtypes = [
            ctypes.c_void_p,
            ctypes.c_char_p,
            ctypes.c_int64,
            ctypes.c_int64,
            ctypes.c_bool,
            ctypes.c_void_p,
            ctypes.c_int64,
        ]
        self._forms = (ctypes.c_uint32 * (_CODE_POINTS + _LONGER_FORMS))()
        self._forms_at = ctypes.addressof(self._forms)
        self._longer_end = _CODE_POINTS
        self._known: set[int] = set()
        self._make_room(1 << 16)

    def clean(self, text: str, title: str | None = None) -> int:
        """Put the clean text into `points`, which has room for one more. How many code points it has."""
        title = title or ""
        joined = False
        while True:
            raw = (title + text).encode("utf-32-le", "surrogatepass")
            length: int = self._clean(
                self._forms_at, raw, len(title), len(text), joined, self.points_at, len(self.points)
            )
            if length >= 0:
                return length
            if length == _UNKNOWN:
                self._learn(title + text)
            elif length == _JOINED:
                text, title, joined = nfkc(text), nfkc(title), True
            else:
                assert length == _NO_ROOM
                self._make_room(2 * (len(self.points) + len(raw) // 4))

    def _make_room(self, room: int) -> None:
        self.points = (ctypes.c_uint32 * room)()
        self.points_at = ctypes.addressof(self.points)

    def _learn(self, text: str) -> None:
        """Fill in the forms of all characters in the blocks of the text's, and in the blocks of their forms."""
        reached = set(text)
        while blocks := {ord(character) >> 8 for character in reached} - self._known:
            self._known |= blocks
            for block in blocks:
                codes = range(block << 8, (block + 1) << 8)
                characters = "".join(map(chr, codes))
                # Ideographs, most of what is met, are their own forms. No mark is a letter, but conjoining jamo are.
                if characters.isalpha() and unicodedata.is_normalized("NFKD", characters) and block != JAMO:
                    self._forms[codes.start : codes.stop] = list(codes)
                    continue
                forms = [printable(form) for form in _each("NFKC", characters)]
                reached.update(*forms)
                self._forms[codes.start : codes.stop] = [
                    self._entry(form) | _JOINS * _is_joining(decomposed[0])
                    for form, decomposed in zip(forms, _each("NFKD", characters), strict=True)
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


def printable(text: str) -> str:
    """The text without unprintable characters: line ends, controls, lone surrogates."""
    return text if text.isprintable() else "".join(filter(str.isprintable, text))


def _each(form: Literal["NFKC", "NFKD"], characters: str) -> list[str]:
    """The normal form of each character alone, by one call for all: no character has anything to do with a line end."""
    between = "\n" if "\n" not in characters else "一"
    return unicodedata.normalize(form, between.join(characters)).split(between)


def joins(character: str) -> bool:
    """Whether NFKC may make something else of the character and those before it than of each alone."""
    return _is_joining(unicodedata.normalize("NFKD", character)[0])


def _is_joining(first: str) -> bool:
    """The same of a character whose decomposition begins with `first`."""
    return unicodedata.category(first)[0] == "M" or "\u1100" <= first <= "\u11ff"


def nfkc(text: str) -> str:
    """`unicodedata.normalize("NFKC", text)`, in linear time."""
    return unicodedata.normalize("NFKC", _LONG_RUN.sub(_marks_in_order, text))


def _marks_in_order(run: re.Match[str]) -> str:
    """The run with its combining marks sorted by class, which NFKC does as well, but in quadratic time.

    40,000 marks in the worst order take `unicodedata` 1.6 s, four times as long when twice as many.
    """
    decomposed = "".join(unicodedata.normalize("NFKD", character) for character in run[0])
    marks = groupby(decomposed, key=lambda character: unicodedata.combining(character) > 0)
    return "".join("".join(sorted(group, key=unicodedata.combining) if is_mark else group) for is_mark, group in marks)
