"""Japanese text → words → subwords: the rules, the same ones for vocabulary, TFRecords and inference.

Needs nothing but tinysegmenter3 (whose output is the specification of a word), so that it can be shipped
inside a model folder, and be imported where transformers is not installed.
"""

from __future__ import annotations

import itertools
import unicodedata
from collections.abc import Iterable, Iterator
from functools import lru_cache

try:
    from tinysegmenter import tokenize as segment
except ImportError:
    raise ImportError(
        "words are split by tinysegmenter3; pip install tinysegmenter3==0.1.0 "
        "(and not tinysegmenter, another project that installs a module of the same name)"
    ) from None

SPECIAL_TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
# A longer word is one [UNK], as in BERT's WordPiece (max_input_chars_per_word).
LONGEST_WORD = 100


def refuse_surrogates(text: str) -> None:
    """ValueError, with the place, where a text holds a lone surrogate: half a character, which no file can hold."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ValueError(
            f"character {error.start} of the text is a lone surrogate (U+{ord(text[error.start]):04X}), which is no "
            'Unicode text; decode its bytes again, with errors="replace" where they are damaged'
        ) from None


def normalise(text: str) -> str:
    """NFKC, the form in which the corpus is written."""
    return unicodedata.normalize("NFKC", text)


def normalise_from(text: str) -> tuple[str, list[int], list[int]]:
    """`normalise(text)`, and where each of its characters comes from: start and end in `text`.

    The text is normalised in stretches that do not act on one another. A stretch that stays as it is maps one
    to one; the characters of any other come from the whole of it (`㌔` → `キロ`, `ｶ` + `ﾞ` → `ガ`).
    """
    if unicodedata.is_normalized("NFKC", text):
        return text, list(range(len(text))), list(range(1, len(text) + 1))
    cuts = [0, *(place for place, character in enumerate(text) if place and _stands_apart(character)), len(text)]
    plain = [normalise(text[start:end]) for start, end in itertools.pairwise(cuts)]
    whole = normalise(text)
    if "".join(plain) != whole:  # A Unicode newer than the rule of _stands_apart: one stretch, coarse but right.
        cuts, plain = [0, len(text)], [whole]
    starts: list[int] = []
    ends: list[int] = []
    for start, end, stretch in zip(cuts, cuts[1:], plain, strict=False):
        if stretch == text[start:end]:
            starts.extend(range(start, end))
            ends.extend(range(start + 1, end + 1))
        else:
            starts.extend([start] * len(stretch))
            ends.extend([end] * len(stretch))
    return whole, starts, ends


@lru_cache(maxsize=1 << 16)
def _stands_apart(character: str) -> bool:
    """Whether this character and what stands before it are normalised without regard to each other.

    So it is where its decomposition begins with neither a mark nor a Hangul vowel or final: only those are
    reordered or composed with what stands before (Unicode Standard Annex 15, "Stable Code Points").
    """
    first = unicodedata.normalize("NFKD", character)[0]
    return unicodedata.category(first)[0] != "M" and not "\u1160" <= first <= "\u11ff"


def word_spans(
    text: str, spaces: frozenset[str] = frozenset(), pieces: Iterable[str] | None = None
) -> Iterator[tuple[int, int]]:
    """Start and end of each word of a normalised text, in characters.

    TinySegmenter reads the text whole, white space included, and each of its pieces is then cut at white
    space, as WordPiece does. White space belongs to no word; a white-space character that is in `spaces`
    (the character vocabulary has it) is a word of its own. `pieces`, which joined are the text, may stand in
    for TinySegmenter's.
    """
    end = 0
    for piece in segment(text) if pieces is None else pieces:
        start, end = end, end + len(piece)
        word = start
        for position in range(start, end):
            if text[position].isspace():
                if word < position:
                    yield word, position
                word = position + 1
                if text[position] in spaces:
                    yield position, word
        if word < end:
            yield word, end


def split_words(text: str) -> list[str]:
    """The words of a normalised text, without white space."""
    return [word for piece in segment(text) for word in piece.split()]


def wordpieces(word: str, vocabulary: dict[str, int]) -> list[str] | None:
    """The word as WordPieces, longest match first (`##` before all but the first); None when it has none.

    The rule of BERT's WordpieceTokenizer: one character that no entry covers makes the whole word unknown,
    and so does a word of more than 100 characters.
    """
    if len(word) > LONGEST_WORD:
        return None
    pieces = []
    start = 0
    while start < len(word):
        for end in range(len(word), start, -1):
            piece = word[start:end] if start == 0 else "##" + word[start:end]
            if piece in vocabulary:
                pieces.append(piece)
                start = end
                break
        else:
            return None
    return pieces


def read_vocabulary(path: str) -> dict[str, int]:
    """A `vocab.txt`: entry → id, the line number from 0. Lines are not stripped: one of them may be a space.

    Raises ValueError (naming file and line) for an entry that stands twice, an empty line, a missing special
    token, and bytes that are not UTF-8; OSError where the file cannot be read.
    """
    with open(path, "rb") as stream:
        lines = stream.read().split(b"\n")
    if lines[-1] == b"":
        lines.pop()
    vocabulary: dict[str, int] = {}
    for number, line in enumerate(lines):
        try:
            entry = line.removesuffix(b"\r").decode()
        except UnicodeDecodeError:
            raise ValueError(f"{path}, line {number + 1}: not UTF-8") from None
        if not entry or entry in vocabulary:
            fault = f"{entry!r} stands there twice" if entry else "an empty line"
            raise ValueError(f"{path}, line {number + 1}: {fault}; a vocabulary has one entry a line")
        vocabulary[entry] = number
    missing = [token for token in SPECIAL_TOKENS if token not in vocabulary]
    if missing:
        raise ValueError(f"{path} has no {' '.join(missing)}; it is not a vocabulary of this family")
    return vocabulary
