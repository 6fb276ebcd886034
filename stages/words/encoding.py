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

from stages.words.compiled_words import Entries, Tokens
from stages.words.japanese_subwords import SubwordTokenizer, joined, normalise, normalise_from, refuse_surrogates


@dataclass(frozen=True)
class Options:
    """The frame of an encoded text.

    special_tokens: add [CLS] before the text and [SEP] after it. max_length: the most tokens, with [CLS] and [SEP].
    """

    special_tokens: bool = True
    max_length: int | None = None


class Row(NamedTuple):
    """The input of a model for one text: lists of equal length. [CLS] and [SEP] have offsets (0, 0), and word None."""

    input_ids: list[int]
    tokens: list[str]
    offsets: list[list[int]]
    word_ids: list[int | None]


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
        self._entry_bytes = Entries(self.entries) if rules.compiled is not None and ids_give_tokens else None

    def encode(self, texts: Sequence[str], places: bool = True) -> Tokens:
        """The tokens of texts, without [CLS] and [SEP]. ValueError, with the place, for a lone surrogate.

        `starts` and `stops` count characters (code points) of each text before normalisation; they have no meaning
        unless places are requested.
        """
        if self.rules.compiled is None:
            return self._encode_uncompiled(texts, places)
        # A part is a text between whole tokens, such as [MASK].
        originals: list[str] = []  # (parts,)
        origins: list[int] = []  # (parts,) where each part begins in its text
        whole: list[tuple[int, int, int, int]] = []  # parts before the token, its id, start and stop
        text_parts = np.empty(len(texts), np.int64)  # parts up to the end of each text
        for number, text in enumerate(texts):
            for part, start, token in self.rules.parts(text):
                if token is None:
                    originals.append(part)
                    origins.append(start)
                else:
                    whole.append((len(originals), self.ids.get(token, self.unknown), start, start + len(part)))
            text_parts[number] = len(originals)
        normalised = list(map(normalise, originals))
        try:
            tokens = self.rules.look_up_arrays(normalised, places)
        except UnicodeEncodeError:
            for text in texts:
                refuse_surrogates(text)
            raise
        starts = stops = np.zeros(len(tokens.ids), np.int64)
        if places:
            starts, stops = _original_places(tokens, normalised, originals, origins)
        if not whole:
            return Tokens(tokens.ids, tokens.first, _ends(tokens, text_parts), starts, stops)
        parts_before, ids, whole_starts, whole_stops = np.array(whole, np.int64).T
        indices = _ends(tokens, parts_before)
        return Tokens(
            np.insert(tokens.ids, indices, ids.astype(np.int32)),
            np.insert(tokens.first, indices, True),
            # The last part of a text follows its last whole token, so `parts_before` is less than its `text_parts`.
            _ends(tokens, text_parts) + np.searchsorted(parts_before, text_parts),
            np.insert(starts, indices, whole_starts),
            np.insert(stops, indices, whole_stops),
        )

    def _encode_uncompiled(self, texts: Sequence[str], places: bool) -> Tokens:
        rows = [list(self.rules.tokens(text, places)) for text in texts]
        tokens = [token for row in rows for token in row]
        return Tokens(
            np.array([self.ids.get(token, self.unknown) for token, _, _, _ in tokens], np.int32),
            np.array([first for _, _, _, first in tokens], np.bool_),
            np.array([len(row) for row in rows], np.int64).cumsum(),
            np.array([start for _, start, _, _ in tokens], np.int64),
            np.array([stop for _, _, stop, _ in tokens], np.int64),
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


def frame(tokenizer: Tokenizer, encoding: Tokens, options: Sequence[Options]) -> list[Row]:
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


def _ends(tokens: Tokens, parts: NDArray[np.int64]) -> NDArray[np.int64]:
    """The number of tokens in the first n parts, for each n of `parts`."""
    return np.concatenate([[0], tokens.ends])[parts]


def _original_places(
    tokens: Tokens, normalised: list[str], originals: list[str], origins: list[int]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Places in the concatenated normalised parts → starts and stops in the original texts, each (tokens,)."""
    lengths = np.fromiter(map(len, normalised), np.int64, len(normalised))
    counts = np.diff(tokens.ends, prepend=0)
    shift: NDArray[np.int64] = np.repeat(np.array(origins, np.int64) - (lengths.cumsum() - lengths), counts)
    starts, stops = tokens.starts + shift, tokens.stops + shift
    for part, (normal, original) in enumerate(zip(normalised, originals, strict=True)):
        if normal is original or normal == original:
            continue
        inside = slice(tokens.ends[part] - counts[part], tokens.ends[part])
        _, first, last = normalise_from(original)
        starts[inside] = np.array(first, np.int64)[starts[inside] - origins[part]] + origins[part]
        stops[inside] = np.array(last, np.int64)[stops[inside] - origins[part] - 1] + origins[part]
    return starts, stops
