"""Japanese texts → their words and subwords as integer arrays: the rules of `japanese_subwords`, compiled (words.c).

Texts are given normalised. TinySegmenter's weights are read from the installed package. Not part of a model folder:
where this module or its library is missing, the tokenizer class works by `japanese_subwords` alone.
"""

from __future__ import annotations

import ctypes
import functools
import itertools
import os
import weakref
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import tinysegmenter.tinysegmenter as package
from numpy.typing import NDArray

from stages.compiled import at, library, structure

SOURCE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "words.c")
# Sizes of words.c.
PLANE, SYMBOLS, SPACE, MOST_ROWS, MOST_TRIPLES = 0x10000, 512, 1 << 12, 1024, 256
TYPES = "OAHIKMN"
# A decision before the text, a word begins, none does.
DECISIONS = "UBO"
# What stands before and behind a text.
MARKS = ("B3", "B2", "B1", "E1", "E2", "E3")
Symbols = tuple[str, ...]

# The structures of words.h.
CTables = structure("CTables", "codes marks singles rows pairs triple_begins triples types", "row_count triple_count")
CTexts = structure("CTexts", "points ends", "count")
CTokens = structure("CTokens", "ids first starts stops ends", "count")


class Texts(NamedTuple):
    """Texts as code points, one behind another."""

    points: NDArray[np.uint32]  # (characters,)
    ends: NDArray[np.int64]  # (texts,) where each ends in points

    def addresses(self) -> ctypes.Structure:
        """The structure of addresses for C. These arrays must outlive it."""
        return CTexts(at(self.points, np.uint32), at(self.ends, np.int64), len(self.ends))


class Tokens(NamedTuple):
    """The tokens of texts, one text after another."""

    ids: NDArray[np.int32]  # (tokens,)
    first: NDArray[np.bool_]  # (tokens,) whether a word begins here
    ends: NDArray[np.int64]  # (texts,) where each text's tokens end
    starts: NDArray[np.int64]  # (tokens,) their places in the points; empty unless places were requested
    stops: NDArray[np.int64]  # (tokens,)


def code_points(texts: Sequence[str]) -> Texts:
    """The code points of texts. UnicodeEncodeError (a ValueError) for a lone surrogate."""
    points = np.frombuffer("".join(texts).encode("utf-32-le"), "<u4")
    return Texts(points, np.fromiter(map(len, texts), np.int64, len(texts)).cumsum())


def segment(texts: Texts) -> NDArray[np.uint8]:
    """Where TinySegmenter's pieces begin, white space among them: 1 there, else 0, shape (characters,)."""
    begins = np.empty(len(texts.points), np.uint8)
    _words().segment(at(texts.points, np.uint32), at(texts.ends, np.int64), len(texts.ends), at(begins, np.uint8))
    return begins


def one_piece(texts: Texts) -> NDArray[np.uint8]:
    """What `segment` gives where no text is to be split: white space alone then separates words."""
    return np.zeros(len(texts.points), np.uint8)


class CompiledVocabulary:
    """A vocabulary, ready for looking words up: the longest entries first, or (`by_character`) each character.

    entries: entry → id. May be used by several threads concurrently; cannot be pickled. Raises NotCompiled.
    """

    def __init__(self, entries: dict[str, int], by_character: bool) -> None:
        texts = code_points(list(entries))
        ids = np.fromiter(entries.values(), np.int32, len(entries))
        self._library = _words()
        self._vocabulary = self._library.vocabulary_new(
            texts.addresses(), at(ids, np.int32), entries["[UNK]"], by_character
        )
        if not self._vocabulary:
            raise MemoryError
        # Not at the end of the program, when other threads may still look words up.
        weakref.finalize(self, self._library.vocabulary_free, self._vocabulary).atexit = False

    def look_up(self, texts: Texts, begins: NDArray[np.uint8], places: bool = False) -> Tokens:
        """The tokens of texts whose pieces begin at `begins` (characters,), which are cut at white space.

        White space is no token, but by character where the vocabulary has it: then it is a word of its own.
        """
        most = len(texts.points)
        ids, first, ends = np.empty(most, np.int32), np.empty(most, np.bool_), np.empty(len(texts.ends), np.int64)
        starts, stops = np.empty((2, most if places else 0), np.int64)
        tokens = CTokens(at(ids, np.int32), at(first, np.bool_), ends=at(ends, np.int64), count=len(ends))
        if places:
            tokens.starts, tokens.stops = at(starts, np.int64), at(stops, np.int64)
        count = self._library.look_up(self._vocabulary, texts.addresses(), _address(begins, texts), tokens)
        return Tokens(ids[:count], first[:count], ends, starts[:count], stops[:count])

    def look_up_text(self, text: str, whole: bool = False) -> tuple[list[int], list[int], list[int], list[int]]:
        """Of a normalised text's tokens: ids, where each starts and stops, whether a word begins (1), as lists.

        whole: the text is not split into words, but at white space. UnicodeEncodeError for a lone surrogate.
        """
        length = len(text)
        # Of few sizes: ctypes keeps a type for each.
        out = (ctypes.c_int32 * (1 << max(4 * length - 1, 0).bit_length()))()
        count = self._library.look_up_text(self._vocabulary, text.encode("utf-32-le"), length, whole, out)
        if count < 0:
            raise MemoryError
        ids, starts, stops, firsts = (out[row * length : row * length + count] for row in range(4))
        return ids, starts, stops, firsts


class Entries:
    """Entries by id, as bytes behind one another, for writing many of them in one call."""

    def __init__(self, entries: Sequence[str]) -> None:
        texts = [entry.encode() for entry in entries]
        self.bytes = np.frombuffer(b"".join(texts), np.uint8)
        self.lengths = np.fromiter(map(len, texts), np.int64, len(texts))
        self.begins = np.concatenate([[0], self.lengths.cumsum()])

    def lines(self, ids: NDArray[np.int32], ends: NDArray[np.int64]) -> bytes:
        """The entries of texts whose ids end at `ends` (texts,): joined by spaces, each text a line, in UTF-8."""
        out = np.empty(int(self.lengths[ids].sum()) + len(ids) + len(ends), np.uint8)
        tokens = CTokens(ids=at(ids, np.int32), ends=at(ends, np.int64), count=len(ends))
        size = _words().join(at(self.bytes, np.uint8), at(self.begins, np.int64), tokens, at(out, np.uint8))
        return out[:size].tobytes()


class WordCounts:
    """How often each word occurs. A word of more than 100 characters is left out: the tokenizer makes it `[UNK]`."""

    def __init__(self) -> None:
        self._library = _words()
        self._counts = self._library.counts_new()
        if not self._counts:
            raise MemoryError
        weakref.finalize(self, self._library.counts_free, self._counts).atexit = False

    def add(self, texts: Texts, begins: NDArray[np.uint8]) -> None:
        """Count the words of texts whose pieces begin at `begins` (characters,), which are cut at white space."""
        if not self._library.counts_add(self._counts, texts.addresses(), _address(begins, texts)):
            raise MemoryError

    def items(self) -> Iterator[tuple[str, int]]:
        """Each word and its count, in the order of first occurrence."""
        words = self._library.counts_words(self._counts)
        if not words:
            return
        begins = np.ctypeslib.as_array(self._library.counts_begins(self._counts), (words + 1,)).tolist()
        counts = np.ctypeslib.as_array(self._library.counts_values(self._counts), (words,)).tolist()
        text = ctypes.string_at(self._library.counts_points(self._counts), 4 * begins[-1]).decode("utf-32-le")
        for word, count in enumerate(counts):
            yield text[begins[word] : begins[word + 1]], count


def _address(begins: NDArray[np.uint8], texts: Texts) -> int:
    """The address of `begins` (characters,). ValueError for that of other texts: C would read beyond its end."""
    if begins.shape != texts.points.shape:
        raise ValueError(f"begins has {begins.shape} elements, these texts {texts.points.shape}")
    return at(begins, np.uint8)


@functools.cache
def _words() -> ctypes.CDLL:
    """The library with its tables filled. Raises NotCompiled if it does not exist."""
    loaded = library(SOURCE)
    pointer, size, flag = ctypes.c_void_p, ctypes.c_int64, ctypes.c_int
    tables, texts, tokens = map(ctypes.POINTER, (CTables, CTexts, CTokens))
    for name, result, arguments in (
        ("type_weights_bytes", size, []),
        ("prepare", None, [tables]),
        ("segment", None, [pointer, pointer, size, pointer]),
        ("vocabulary_new", pointer, [texts, pointer, ctypes.c_int32, flag]),
        ("vocabulary_free", None, [pointer]),
        ("look_up", size, [pointer, texts, pointer, tokens]),
        ("join", size, [pointer, pointer, tokens, pointer]),
        ("look_up_text", size, [pointer, ctypes.c_char_p, size, flag, pointer]),
        ("counts_new", pointer, []),
        ("counts_free", None, [pointer]),
        ("counts_add", flag, [pointer, texts, pointer]),
        ("counts_words", size, [pointer]),
        ("counts_points", pointer, [pointer]),
        ("counts_begins", ctypes.POINTER(ctypes.c_int64), [pointer]),
        ("counts_values", ctypes.POINTER(ctypes.c_int64), [pointer]),
    ):
        function = getattr(loaded, name)
        function.restype, function.argtypes = result, arguments
    _prepare(loaded)
    return loaded


def _readings(key: str, length: int) -> Iterator[Symbols]:
    """All ways to read a table's key as `length` symbols, each a character or a mark.

    The package looks up six neighbours joined, so a key means every such sequence (`E1` is also `E`, `1`).
    """
    if not length:
        if not key:
            yield ()
        return
    for symbol in (key[:1], *MARKS):
        if symbol and key.startswith(symbol):
            for rest in _readings(key[len(symbol) :], length - 1):
                yield symbol, *rest


def _by_symbols(prefix: str, tables: int, length: int) -> dict[Symbols, list[int]]:
    """The weights of the tables `_UW1` … (or `_BW`, `_TW`) by their symbols: a column for each table."""
    columns: dict[Symbols, list[int]] = {}
    for table in range(tables):
        for key, weight in getattr(package, f"_{prefix}{table + 1}").items():
            for symbols in _readings(key, length):
                columns.setdefault(symbols, [0] * tables)[table] += weight
    return columns


def _numbered(name: str, decisions: int, types: int) -> NDArray[np.int32]:
    """A table over decisions and types as a flat array: two bits for a decision, then three for a type."""
    array = np.zeros([4] * decisions + [8] * types, np.int32)
    for key, weight in getattr(package, name).items():
        if len(key) == decisions + types:
            array[(*map(DECISIONS.index, key[:decisions]), *map(TYPES.index, key[decisions:]))] = weight
    return array.ravel()


def _prepare(loaded: ctypes.CDLL) -> None:
    """Hand the package's tables to the library: 15 ms."""
    single, double, triple = _by_symbols("UW", 6, 1), _by_symbols("BW", 3, 2), _by_symbols("TW", 4, 3)
    symbols = itertools.chain(*single, *double, *triple, MARKS)
    # Number 0 is every character that no table names.
    number = {symbol: place for place, symbol in enumerate(dict.fromkeys(symbols), 1)}
    heads = sorted({(number[a], number[b]) for a, b, *_ in (*double, *triple)})
    assert max(len(number) - SYMBOLS, len(heads) - MOST_ROWS, len(triple) - MOST_TRIPLES) < 0

    codes = np.zeros(PLANE, np.uint16)
    for symbol, place in number.items():
        if len(symbol) == 1:
            codes[ord(symbol)] = place
    typed = np.fromiter(map(ord, package._CHARDICT), np.int64, len(package._CHARDICT))
    codes[typed] |= np.fromiter(map(TYPES.index, package._CHARDICT.values()), np.uint16, len(typed)) << 9
    codes[[ord(character) for character in map(chr, range(PLANE)) if character.isspace()]] |= SPACE
    singles = np.zeros((SYMBOLS, 6), np.int16)
    for (symbol,), weights in single.items():
        singles[number[symbol]] = weights
    rows = np.zeros((SYMBOLS, SYMBOLS), np.uint16)
    for row, head in enumerate(heads, 1):
        rows[head] = row
    pairs = np.zeros((len(heads) + 1, 3), np.int32)
    for (a, b), weights in double.items():
        pairs[rows[number[a], number[b]]] = weights
    ordered = sorted((int(rows[number[a], number[b]]), number[c], *w) for (a, b, c), w in triple.items())
    begins = np.searchsorted([row for row, *_ in ordered], np.arange(len(heads) + 2)).astype(np.int32)
    triples = np.array([rest for _, *rest in ordered], np.int32)

    groups = [("UC", 6, 0, 1), ("BC", 3, 0, 2), ("TC", 4, 0, 3), ("UP", 3, 1, 0), ("BP", 2, 2, 0), ("UQ", 3, 1, 1)]
    tables = [
        _numbered(f"_{prefix}{table + 1}", decisions, types)
        for prefix, count, decisions, types in [*groups, ("BQ", 4, 1, 2), ("TQ", 4, 1, 3)]
        for table in range(count)
    ]
    types = np.concatenate([np.array([package._BIAS], np.int32), *tables])
    assert types.nbytes == loaded.type_weights_bytes()
    marks = np.array([number[mark] for mark in MARKS], np.uint16)
    loaded.prepare(CTables(
        at(codes, np.uint16), at(marks, np.uint16), at(singles, np.int16), at(rows, np.uint16), at(pairs, np.int32),
        at(begins, np.int32), at(triples, np.int32), at(types, np.int32), len(pairs), len(triples),
    ))  # fmt: skip
