"""A tokenizer and texts → their ids, tokens and places, whole batches at a time, without transformers.

The rules are those of `japanese_subwords`; the tokenizer class of `tokenization` puts the same ones into the form of
transformers, whose import takes 1.1 s and 180 MB.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from stages.words import compiled_words
from stages.words.japanese_subwords import SubwordTokenizer, joined, normalise, normalise_from, refuse_surrogates


@dataclass(frozen=True)
class Options:
    """What `encode` puts around and takes off a text.

    special_tokens: [CLS] before and [SEP] behind it. max_length: the most tokens that are left, these two counted.
    """

    special_tokens: bool = True
    max_length: int | None = None

    @property
    def least(self) -> int:
        """The least max_length that leaves room for text."""
        return 3 if self.special_tokens else 1


class Encoded(NamedTuple):
    """The tokens of texts, one text behind another. Places are in characters (code points) of each text as given."""

    ids: NDArray[np.int32]  # (tokens,)
    first: NDArray[np.bool_]  # (tokens,) whether a word begins here
    starts: NDArray[np.int64]  # (tokens,) meaningless unless asked for
    stops: NDArray[np.int64]  # (tokens,)
    ends: NDArray[np.int64]  # (texts,) where each text's tokens end


class Row(NamedTuple):
    """A text as a model is given it: lists of one length. [CLS] and [SEP] are at (0, 0), in the word None."""

    input_ids: list[int]
    tokens: list[str]
    offsets: list[list[int]]
    word_ids: list[int | None]


class Tokenizer:
    """The tokenizer of a model folder.

    rules: text → tokens. added: the entries beside the vocabulary's, by id. special: ids that `decode` may leave out.
    cls, sep, mask: ids. max_length: positions of the model. keep_end: a text that is cut loses its beginning.
    """

    def __init__(
        self,
        rules: SubwordTokenizer,
        added: dict[int, str],
        special: frozenset[int],
        cls: int,
        sep: int,
        mask: int,
        max_length: int | None,
        keep_end: bool = False,
    ) -> None:
        self.rules, self.special, self.cls, self.sep, self.mask = rules, special, cls, sep, mask
        self.max_length, self.keep_end = max_length, keep_end
        self.ids = {**rules.vocabulary, **{entry: id_ for id_, entry in added.items()}}
        self.unknown = self.ids[rules.unknown]
        # Ids that no entry has, between the vocabulary's and those added, are unknown.
        self.entries = [*rules.entries, *[rules.unknown] * (max(added, default=0) + 1 - len(rules.entries))]
        for id_, entry in added.items():
            self.entries[id_] = entry
        self._bytes = compiled_words.Entries(self.entries) if rules.compiled is not None else None
        # A string that is never split need not be in the vocabulary: its id is that of [UNK], and its token is not.
        self._all_have_ids = all(token.content in self.ids for token in rules.whole)

    def encode(self, texts: Sequence[str], located: bool = True) -> Encoded:
        """The tokens of texts, without [CLS] and [SEP]. ValueError for a lone surrogate, which tells the place."""
        if self.rules.compiled is None:
            return self._encode_slowly(texts, located)
        plain: list[str] = []
        origins: list[int] = []  # (parts,) where each part begins in its text
        wholes: list[tuple[int, int, int, int]] = []  # the part before it, id, start, stop
        parts_before = np.empty(len(texts), np.int64)
        given: list[str] = []
        for number, text in enumerate(texts):
            for part, start, token in self.rules.parts(text):
                if token is None:
                    plain.append(normalise(part))
                    origins.append(start)
                    given.append(part)
                else:
                    wholes.append((len(plain), self.ids.get(token, self.unknown), start, start + len(part)))
            parts_before[number] = len(plain)
        try:
            found = self.rules.look_up_arrays(plain, places=located)
        except UnicodeEncodeError:
            for text in texts:
                refuse_surrogates(text)
            raise
        starts = stops = np.zeros(len(found.ids), np.int64)
        if found.starts is not None and found.stops is not None:
            starts, stops = _in_texts(found, plain, given, origins)
        ends = np.concatenate([[0], found.ends])[parts_before]
        if not wholes:
            return Encoded(found.ids, found.first, starts, stops, ends)
        return _with_wholes(Encoded(found.ids, found.first, starts, stops, ends), found.ends, parts_before, wholes)

    def _encode_slowly(self, texts: Sequence[str], located: bool) -> Encoded:
        rows = [list(self.rules.tokens(text, located)) for text in texts]
        every = [token for row in rows for token in row]
        return Encoded(
            np.array([self.ids.get(token, self.unknown) for token, _, _, _ in every], np.int32),
            np.array([first for _, _, _, first in every], np.bool_),
            np.array([start for _, start, _, _ in every], np.int64),
            np.array([stop for _, _, stop, _ in every], np.int64),
            np.array([len(row) for row in rows], np.int64).cumsum(),
        )

    def rows(self, texts: Sequence[str], options: Options) -> list[Row]:
        """Each text as a model is given it, cut and framed as `options` say."""
        return framed(self, self.encode(texts), [options] * len(texts))

    def tokens(self, texts: Sequence[str]) -> list[list[str]]:
        """The tokens of each text, without [CLS] and [SEP]."""
        if self._bytes is None or not self._all_have_ids:
            return [[token for token, _, _, _ in self.rules.tokens(text, located=False)] for text in texts]
        encoded = self.encode(texts, located=False)
        entries = list(map(self.entries.__getitem__, encoded.ids.tolist()))
        ends = encoded.ends.tolist()
        return [entries[start:end] for start, end in zip([0, *ends], ends, strict=False)]

    def lines(self, texts: Sequence[str]) -> bytes:
        """The tokens of each text, joined by spaces, a line each."""
        if self._bytes is None or not self._all_have_ids:
            return "".join(" ".join(tokens) + "\n" for tokens in self.tokens(texts)).encode()
        encoded = self.encode(texts, located=False)
        return self._bytes.lines(encoded.ids, encoded.ends)

    def decode(self, ids: Sequence[int], skip_special_tokens: bool = True) -> str:
        """The text of ids: their tokens joined. ValueError for an id that no entry has."""
        kept = []
        for place, id_ in enumerate(ids):
            if not 0 <= id_ < len(self.entries):
                raise ValueError(f"id {id_} at place {place} is none of 0 to {len(self.entries) - 1}")
            if not (skip_special_tokens and id_ in self.special):
                kept.append(self.entries[id_])
        return joined(kept)


def framed(tokenizer: Tokenizer, encoded: Encoded, options: Sequence[Options]) -> list[Row]:
    """The texts of a batch as a model is given them, each cut and framed as its own options say."""
    ids = encoded.ids.tolist()
    tokens = list(map(tokenizer.entries.__getitem__, ids))
    offsets = np.stack([encoded.starts, encoded.stops], axis=1).tolist()
    words = encoded.first.cumsum().tolist()
    ends = encoded.ends.tolist()
    before, behind = tokenizer.cls, tokenizer.sep
    named = tokenizer.entries[before], tokenizer.entries[behind]
    rows = []
    for start, end, wanted in zip([0, *ends], ends, options, strict=False):
        base = words[start] if start < end else 0
        if wanted.max_length is not None:
            room = max(wanted.max_length - 2 * wanted.special_tokens, 0)
            start, end = (max(start, end - room), end) if tokenizer.keep_end else (start, min(end, start + room))
        numbers: list[Any] = [word - base for word in words[start:end]]
        if wanted.special_tokens:
            rows.append(
                Row(
                    [before, *ids[start:end], behind],
                    [named[0], *tokens[start:end], named[1]],
                    [[0, 0], *offsets[start:end], [0, 0]],
                    [None, *numbers, None],
                )
            )
        else:
            rows.append(Row(ids[start:end], tokens[start:end], offsets[start:end], numbers))
    return rows


def _in_texts(
    found: compiled_words.Tokens, plain: list[str], given: list[str], origins: list[int]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Places in the normalised parts, which stand behind one another, → places in the texts as given."""
    assert found.starts is not None
    assert found.stops is not None
    lengths = np.fromiter(map(len, plain), np.int64, len(plain))
    shift = np.array(origins, np.int64) - (lengths.cumsum() - lengths)
    counts = np.diff(found.ends, prepend=0)
    starts, stops = found.starts + np.repeat(shift, counts), found.stops + np.repeat(shift, counts)
    for part, (normal, own) in enumerate(zip(plain, given, strict=True)):
        if normal is own or normal == own:
            continue
        tokens = slice(found.ends[part] - counts[part], found.ends[part])
        _, first, last = normalise_from(own)
        starts[tokens] = np.array(first, np.int64)[starts[tokens] - origins[part]] + origins[part]
        stops[tokens] = np.array(last, np.int64)[stops[tokens] - origins[part] - 1] + origins[part]
    return starts, stops


def _with_wholes(
    encoded: Encoded,
    part_ends: NDArray[np.int64],
    parts_before: NDArray[np.int64],
    wholes: list[tuple[int, int, int, int]],
) -> Encoded:
    """Put the whole tokens between the tokens of the parts where they stand."""
    behind, ids, starts, stops = np.array(wholes, np.int64).T
    places = np.concatenate([[0], part_ends])[behind]
    # A text's whole tokens stand before its last part, so `behind` is less than its number of parts.
    added = np.searchsorted(behind, parts_before, side="left")
    return Encoded(
        np.insert(encoded.ids, places, ids.astype(np.int32)),
        np.insert(encoded.first, places, True),
        np.insert(encoded.starts, places, starts),
        np.insert(encoded.stops, places, stops),
        encoded.ends + added,
    )
