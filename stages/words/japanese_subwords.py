"""Japanese text → words → subwords: the rules, the same ones for vocabulary, TFRecords and inference.

Needs nothing but tinysegmenter3 (whose output is the specification of a word), so that it can be shipped
inside a model folder, and be imported where transformers is not installed.
"""

from __future__ import annotations

import contextlib
import itertools
import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

try:
    from tinysegmenter import tokenize as segment
except ImportError:
    raise ImportError(
        "words are split by tinysegmenter3; pip install tinysegmenter3==0.1.0 "
        "(and not tinysegmenter, another project that installs a module of the same name)"
    ) from None

try:
    # Not part of a model folder, and not needed: the same rules, compiled, and in linear time for any text.
    from stages.words import compiled_words
    from stages.words.normal_forms import nfkc
except ImportError:
    compiled_words = None  # type: ignore[assignment]

    def nfkc(text: str) -> str:
        return unicodedata.normalize("NFKC", text)


SUBWORD_TYPES = ("wordpiece", "character")
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
    """NFKC without what is not printable, as the corpus is written; white space stays.

    Models have seen no zero-width space, byte order mark or control character. Lone surrogates stay, to be refused.
    """
    text = nfkc(text)
    if all(map(str.isprintable, text.split())):
        return text
    return "".join(filter(_stays, text))


def _stays(character: str) -> bool:
    return character.isprintable() or character.isspace() or "\ud800" <= character <= "\udfff"


def normalise_from(text: str) -> tuple[str, list[int], list[int]]:
    """`normalise(text)`, and where each of its characters comes from: start and end in `text`.

    The text is normalised in stretches that do not act on one another. A stretch that stays as it is maps one
    to one; the characters of any other come from the whole of it (`㌔` → `キロ`, `ｶ` + `ﾞ` → `ガ`).
    """
    whole = normalise(text)
    if whole == text:
        return text, list(range(len(text))), list(range(1, len(text) + 1))
    cuts = [0, *(place for place, character in enumerate(text) if place and _stands_apart(character)), len(text)]
    plain = [normalise(text[start:end]) for start, end in itertools.pairwise(cuts)]
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


@lru_cache(maxsize=1 << 13)  # 1.3 MB
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


class WholeToken(NamedTuple):
    """A string that is a token wherever it stands in a text; the conditions are those of transformers' AddedToken.

    single_word: only between white space. lstrip, rstrip: white space before and behind it is dropped.
    normalized: where texts are lowered, it is found in any case, unless it is `special`.
    """

    content: str
    single_word: bool = False
    lstrip: bool = False
    rstrip: bool = False
    normalized: bool = False
    special: bool = True


# A token, where it starts and ends in the text it was found in, in characters, and whether a word begins with it.
Token = tuple[str, int, int, bool]


class SubwordTokenizer:
    """Texts → tokens, by a vocabulary (entry → id) and options: what each of them means, `tokenization` says.

    `compiled` is the compiled form of the rules, or None where it is not to be had (outside of this project) or does
    not know an option (lower case, marked or whole words); without it all is the same, but slower.

    Raises ValueError for an unknown subword type. Whole tokens are the special ones until `mark_whole` is called.
    """

    def __init__(
        self,
        vocabulary: dict[str, int],
        subword_tokenizer_type: str = "wordpiece",
        do_lower_case: bool = False,
        do_word_tokenize: bool = True,
        do_subword_tokenize: bool = True,
        manual_subword_marking: bool = False,
        unk_token: str = "[UNK]",
    ) -> None:
        if subword_tokenizer_type not in SUBWORD_TYPES:
            raise ValueError(
                f"subword_tokenizer_type is {subword_tokenizer_type!r}; it must be one of {', '.join(SUBWORD_TYPES)}"
            )
        self.vocabulary = vocabulary
        self.entries = list(vocabulary)
        self.lowers = do_lower_case
        self.splits_words = do_word_tokenize
        self.cuts_words = do_subword_tokenize
        self.by_character = do_subword_tokenize and subword_tokenizer_type == "character"
        self.mark = "##" if manual_subword_marking else ""
        self.unknown = unk_token
        # White space is a token only where it can be told from an unknown character: as an entry of its own.
        self._spaces = frozenset(
            entry for entry in vocabulary if self.by_character and len(entry) == 1 and entry.isspace()
        )
        self.mark_whole(WholeToken(token) for token in SPECIAL_TOKENS)
        self._compile()

    def _compile(self) -> None:
        self.compiled: compiled_words.CompiledVocabulary | None = None
        plain = not self.lowers and not self.mark and self.unknown == "[UNK]" and self.cuts_words
        if compiled_words is not None and plain:
            with contextlib.suppress(ImportError):  # The library is not there.
                self.compiled = compiled_words.CompiledVocabulary(self.vocabulary, self.by_character)

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "compiled"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._compile()

    def mark_whole(self, tokens: Iterable[WholeToken]) -> None:
        """Take these strings for a token each, wherever they stand in a text; the longest is looked for first."""
        self.whole = sorted(tokens, key=lambda token: len(token.content), reverse=True)
        self._firsts = {token.content[0] for token in self.whole}
        self._whole_token = re.compile("|".join(map(self._pattern, self.whole)))

    def _pattern(self, token: WholeToken) -> str:
        content = re.escape(token.content)
        if self.lowers and token.normalized and not token.special:
            content = f"(?i:{content})"  # transformers has lowered the token, not the text.
        return rf"(?<!\S)({content})(?!\S)" if token.single_word else f"({content})"

    def parts(self, text: str, plain_only: bool = False) -> Iterable[tuple[str, int, str | None]]:
        """The parts of a text between whole tokens, and these: part, start, and the token if it is one.

        plain_only: there is none, `[MASK]` is plain text.
        """
        # Looking for `[` alone is twenty times as fast as for `[MASK]` and the others. Lower case has no such letter.
        if plain_only or not (self.lowers or any(first in text for first in self._firsts)):
            return [(text, 0, None)]
        return self._cut_at_whole_tokens(text)

    def _cut_at_whole_tokens(self, text: str) -> Iterator[tuple[str, int, str | None]]:
        done = 0
        for match in self._whole_token.finditer(text):
            token = self.whole[(match.lastindex or 0) - 1]
            before = text[done : match.start()]
            yield before.rstrip() if token.lstrip else before, done, None
            yield match[0], match.start(), token.content
            done = match.end()
            while token.rstrip and text[done : done + 1].isspace():
                done += 1
        yield text[done:], done, None

    def tokens(self, text: str, located: bool, plain_only: bool = False) -> Iterator[Token]:
        """Each token of a text. `located`: with its place in the text as given; else start and end mean nothing.

        Raises ValueError for a lone surrogate.
        """
        refuse_surrogates(text)
        for part, start, token in self.parts(text, plain_only):
            if token is not None:
                yield token, start, start + len(part), True
            elif located:
                plain, starts, ends = normalise_from(part)
                for found, first, end, begins in self._plain_tokens(plain):
                    yield found, start + starts[first], start + ends[end - 1], begins
            else:
                yield from self._plain_tokens(normalise(part))

    def _plain_tokens(self, text: str) -> Iterator[Token]:
        """Each token of a normalised text without whole tokens, with its place there."""
        if self.compiled is not None:
            ids, starts, stops, firsts = self.compiled.look_up_text(text, whole=not self.splits_words)
            yield from zip(map(self.entries.__getitem__, ids), starts, stops, map(bool, firsts), strict=True)
            return
        for start, end in word_spans(text, self._spaces, None if self.splits_words else [text]):
            word = text[start:end]
            lowered = word.lower() if self.lowers else word
            places: Sequence[int] = range(start, end)
            if len(lowered) != len(word):  # `İ` becomes two characters.
                places = [start + place for place, letter in enumerate(word) for _ in letter.lower()]
            done = 0
            for token, length in self._subwords(lowered):
                yield token, places[done], places[done + length - 1] + 1, done == 0
                done += length

    def look_up(self, texts: list[str]) -> tuple[list[int], list[int]]:
        """The ids of normalised texts without whole tokens, one text behind another, and where each ends.

        For compiled rules alone. UnicodeEncodeError for a lone surrogate.
        """
        assert self.compiled is not None
        if len(texts) == 1:
            ids, _, _, _ = self.compiled.look_up_text(texts[0], whole=not self.splits_words)
            return ids, [len(ids)]
        tokens = self.look_up_arrays(texts)
        return tokens.ids.tolist(), tokens.ends.tolist()

    def look_up_arrays(self, texts: list[str], places: bool = False) -> compiled_words.Tokens:
        """The tokens of normalised texts without whole tokens, as arrays: what `look_up` gives, and `places`."""
        assert self.compiled is not None
        points = compiled_words.code_points(texts)
        begins = compiled_words.segment(points) if self.splits_words else compiled_words.one_piece(points)
        return self.compiled.look_up(points, begins, places)

    def _subwords(self, word: str) -> list[tuple[str, int]]:
        """The tokens of a word, each with the number of the word's characters that it stands for."""
        if not self.cuts_words:
            return [(word, len(word))]
        if self.by_character:
            marked = [self.mark * (place > 0) + letter for place, letter in enumerate(word)]
            return [(token if token[-1] in self.vocabulary else self.unknown, 1) for token in marked]
        pieces = wordpieces(word, self.vocabulary)
        if pieces is None:
            return [(self.unknown, len(word))]
        return [(piece, len(piece) - 2 * (place > 0)) for place, piece in enumerate(pieces)]


def joined(tokens: Iterable[str]) -> str:
    """Tokens as text: Japanese is written without spaces, so they are joined, and the `##` of WordPieces dropped."""
    return "".join(token[2:] if token.startswith("##") and len(token) > 2 else token for token in tokens)
