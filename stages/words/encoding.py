"""A tokenizer and texts → their ids, tokens and offsets, in batches, without transformers.

The rules are those of `japanese_subwords`, as in the tokenizer class of `tokenization`. That class imports
transformers, which takes 1.1 s and 180 MB.
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
    """The frame of an encoded text.

    special_tokens: add [CLS] before the text and [SEP] after it. max_length: the most tokens, with [CLS] and [SEP].
    """

    special_tokens: bool = True
    max_length: int | None = None


class Encoding(NamedTuple):
    """The tokens of texts, concatenated. Places count characters (code points) of each text before normalisation."""

    ids: NDArray[np.int32]  # (tokens,)
    first: NDArray[np.bool_]  # (tokens,) whether a word begins here
    starts: NDArray[np.int64]  # (tokens,) without meaning unless places were requested
    stops: NDArray[np.int64]  # (tokens,)
    ends: NDArray[np.int64]  # (texts,) where each text's tokens end


class Row(NamedTuple):
    """The input of a model for one text: lists of equal length. [CLS] and [SEP] have offsets (0, 0), and word None."""

    input_ids: list[int]
    tokens: list[str]
    offsets: list[list[int]]
    word_ids: list[int | None]


class PlacedToken(NamedTuple):
    """A whole token, such as [MASK], and its place in its text. A part is a text between whole tokens."""

    parts_before: int  # parts of the batch before the token
    id: int
    start: int
    stop: int


class Tokenizer:
    """The tokenizer of a model folder.

    rules: text → tokens. added: entries beside the vocabulary, by id. special: ids that `decode` may leave out.
    cls, sep, mask: ids. max_length: positions of the model. keep_end: truncation removes the beginning of a text.
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
        # Ids between the vocabulary's and the added ones may have no entry; they are unknown.
        self.entries = [*rules.entries, *[rules.unknown] * (max(added, default=0) + 1 - len(rules.entries))]
        for id_, entry in added.items():
            self.entries[id_] = entry
        # A string of never_split may be absent from the vocabulary: it has the id of [UNK] and remains its own token.
        ids_give_tokens = all(token.content in self.ids for token in rules.whole)
        self._entry_bytes = (
            compiled_words.Entries(self.entries) if rules.compiled is not None and ids_give_tokens else None
        )

    def encode(self, texts: Sequence[str], places: bool = True) -> Encoding:
        """The tokens of texts, without [CLS] and [SEP]. ValueError, with the place, for a lone surrogate."""
        if self.rules.compiled is None:
            return self._encode_uncompiled(texts, places)
        originals: list[str] = []  # (parts,)
        origins: list[int] = []  # (parts,) where each part begins in its text
        whole: list[PlacedToken] = []
        text_parts = np.empty(len(texts), np.int64)  # parts up to the end of each text
        for number, text in enumerate(texts):
            for part, start, token in self.rules.parts(text):
                if token is None:
                    originals.append(part)
                    origins.append(start)
                else:
                    id_ = self.ids.get(token, self.unknown)
                    whole.append(PlacedToken(len(originals), id_, start, start + len(part)))
            text_parts[number] = len(originals)
        normalised = list(map(normalise, originals))
        try:
            tokens = self.rules.look_up_arrays(normalised, places)
        except UnicodeEncodeError:
            for text in texts:
                refuse_surrogates(text)
            raise
        starts = stops = np.zeros(len(tokens.ids), np.int64)
        if tokens.starts is not None and tokens.stops is not None:
            starts, stops = _original_places(tokens.starts, tokens.stops, tokens.ends, normalised, originals, origins)
        ends = np.concatenate([[0], tokens.ends])[text_parts]
        encoding = Encoding(tokens.ids, tokens.first, starts, stops, ends)
        return _insert_whole_tokens(encoding, tokens.ends, text_parts, whole) if whole else encoding

    def _encode_uncompiled(self, texts: Sequence[str], places: bool) -> Encoding:
        rows = [list(self.rules.tokens(text, places)) for text in texts]
        tokens = [token for row in rows for token in row]
        return Encoding(
            np.array([self.ids.get(token, self.unknown) for token, _, _, _ in tokens], np.int32),
            np.array([first for _, _, _, first in tokens], np.bool_),
            np.array([start for _, start, _, _ in tokens], np.int64),
            np.array([stop for _, _, stop, _ in tokens], np.int64),
            np.array([len(row) for row in rows], np.int64).cumsum(),
        )

    def rows(self, texts: Sequence[str], options: Options) -> list[Row]:
        """The input of a model for each text."""
        return frame(self, self.encode(texts), [options] * len(texts))

    def tokens(self, texts: Sequence[str]) -> list[list[str]]:
        """The tokens of each text, without [CLS] and [SEP]."""
        if self._entry_bytes is None:
            return [[token for token, _, _, _ in self.rules.tokens(text, False)] for text in texts]
        encoding = self.encode(texts, places=False)
        entries = list(map(self.entries.__getitem__, encoding.ids.tolist()))
        ends = encoding.ends.tolist()
        return [entries[start:end] for start, end in zip([0, *ends], ends, strict=False)]

    def lines(self, texts: Sequence[str]) -> bytes:
        """The tokens of each text, joined by spaces, one line each."""
        if self._entry_bytes is None:
            return "".join(" ".join(tokens) + "\n" for tokens in self.tokens(texts)).encode()
        encoding = self.encode(texts, places=False)
        return self._entry_bytes.lines(encoding.ids, encoding.ends)

    def decode(self, ids: Sequence[int], skip_special_tokens: bool = True) -> str:
        """The text of ids: their tokens joined. ValueError for an id without an entry."""
        entries = []
        for place, id_ in enumerate(ids):
            if not 0 <= id_ < len(self.entries):
                raise ValueError(f"id {id_} at place {place} is none of 0 to {len(self.entries) - 1}")
            if not (skip_special_tokens and id_ in self.special):
                entries.append(self.entries[id_])
        return joined(entries)


def frame(tokenizer: Tokenizer, encoding: Encoding, options: Sequence[Options]) -> list[Row]:
    """The input of a model for each text of a batch, truncated and framed by the text's own options."""
    ids = encoding.ids.tolist()
    tokens = list(map(tokenizer.entries.__getitem__, ids))
    offsets = np.stack([encoding.starts, encoding.stops], axis=1).tolist()
    words = encoding.first.cumsum().tolist()
    ends = encoding.ends.tolist()
    cls, sep = tokenizer.cls, tokenizer.sep
    cls_token, sep_token = tokenizer.entries[cls], tokenizer.entries[sep]
    rows = []
    for start, end, option in zip([0, *ends], ends, options, strict=False):
        first_word = words[start] if start < end else 0
        if option.max_length is not None:
            room = max(option.max_length - 2 * option.special_tokens, 0)
            start, end = (max(start, end - room), end) if tokenizer.keep_end else (start, min(end, start + room))
        word_ids: list[Any] = [word - first_word for word in words[start:end]]
        if option.special_tokens:
            rows.append(
                Row(
                    [cls, *ids[start:end], sep],
                    [cls_token, *tokens[start:end], sep_token],
                    [[0, 0], *offsets[start:end], [0, 0]],
                    [None, *word_ids, None],
                )
            )
        else:
            rows.append(Row(ids[start:end], tokens[start:end], offsets[start:end], word_ids))
    return rows


def _original_places(
    starts: NDArray[np.int64],
    stops: NDArray[np.int64],
    part_ends: NDArray[np.int64],
    normalised: list[str],
    originals: list[str],
    origins: list[int],
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Places in the concatenated normalised parts → places in the original texts, starts and stops (tokens,).

    part_ends: (parts,) where each part's tokens end.
    """
    lengths = np.fromiter(map(len, normalised), np.int64, len(normalised))
    shift = np.array(origins, np.int64) - (lengths.cumsum() - lengths)
    counts = np.diff(part_ends, prepend=0)
    starts, stops = starts + np.repeat(shift, counts), stops + np.repeat(shift, counts)
    for part, (normal, original) in enumerate(zip(normalised, originals, strict=True)):
        if normal is original or normal == original:
            continue
        tokens = slice(part_ends[part] - counts[part], part_ends[part])
        _, first, last = normalise_from(original)
        starts[tokens] = np.array(first, np.int64)[starts[tokens] - origins[part]] + origins[part]
        stops[tokens] = np.array(last, np.int64)[stops[tokens] - origins[part] - 1] + origins[part]
    return starts, stops


def _insert_whole_tokens(
    encoding: Encoding, part_ends: NDArray[np.int64], text_parts: NDArray[np.int64], whole: list[PlacedToken]
) -> Encoding:
    """Insert the whole tokens between the tokens of the parts."""
    parts_before, ids, starts, stops = np.array(whole, np.int64).T
    places = np.concatenate([[0], part_ends])[parts_before]
    # The last part of a text follows its last whole token, so `parts_before` is less than the text's `text_parts`.
    inserted = np.searchsorted(parts_before, text_parts, side="left")
    return Encoding(
        np.insert(encoding.ids, places, ids.astype(np.int32)),
        np.insert(encoding.first, places, True),
        np.insert(encoding.starts, places, starts),
        np.insert(encoding.stops, places, stops),
        encoding.ends + inserted,
    )
