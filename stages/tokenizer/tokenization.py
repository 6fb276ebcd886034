"""Text → tokens and ids for ALBERT, in the form of a transformers tokenizer.

NFKC, then words (TinySegmenter), then WordPieces or characters; the rules are in `japanese_subwords`. This
file and that one are shipped in every model folder, for `AutoTokenizer.from_pretrained(…, trust_remote_code=True)`.
Importing this file as `tokenization` makes the class known to AutoTokenizer without that flag.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from typing import Any

from transformers import AddedToken, BatchEncoding, PreTrainedTokenizer

try:
    from .japanese_subwords import normalise, normalise_from, read_vocabulary, tinysegment, word_spans, wordpieces
except ImportError:
    if __package__:
        raise
    # Imported as the top-level module `tokenization`.
    from japanese_subwords import normalise, normalise_from, read_vocabulary, tinysegment, word_spans, wordpieces

SUBWORD_TYPES = ("wordpiece", "character")
Token = tuple[str, int, int]


class BertJapaneseTinySegmenterTokenizer(PreTrainedTokenizer):
    """Tokenizer of the Japanese ALBERT models: TinySegmenter words, cut into WordPieces or characters.

    vocab_file: one entry a line, the id is the line number from 0.
    do_lower_case: lower the words (after they are split, which depends on case).
    do_word_tokenize: split words with TinySegmenter; else white space alone separates them.
    do_subword_tokenize: cut words into subwords; else a word that is not in the vocabulary is unknown.
    subword_tokenizer_type: "wordpiece" (a word that cannot be covered is one [UNK]) or "character".
    never_split: strings that are a token each wherever they stand in a text, beside the special tokens.
    manual_subword_marking: with "character", put `##` before all but the first character of a word.

    Raises ValueError for a vocabulary that is missing or none, and for an unknown subword type.
    """

    vocab_files_names = {"vocab_file": "vocab.txt"}  # noqa: RUF012 (the name and form that transformers reads)
    model_input_names = ["input_ids", "token_type_ids", "attention_mask"]  # noqa: RUF012
    # save_pretrained then writes this file and the rules beside the vocabulary, and names them in auto_map.
    _auto_class = "AutoTokenizer"

    def __init__(
        self,
        vocab_file: str | os.PathLike[str],
        do_lower_case: bool = False,
        do_word_tokenize: bool = True,
        do_subword_tokenize: bool = True,
        subword_tokenizer_type: str = "wordpiece",
        never_split: list[str] | None = None,
        unk_token: str | AddedToken = "[UNK]",
        sep_token: str | AddedToken = "[SEP]",
        pad_token: str | AddedToken = "[PAD]",
        cls_token: str | AddedToken = "[CLS]",
        mask_token: str | AddedToken = "[MASK]",
        manual_subword_marking: bool = False,
        **kwargs: Any,
    ) -> None:
        if subword_tokenizer_type not in SUBWORD_TYPES:
            raise ValueError(
                f"subword_tokenizer_type is {subword_tokenizer_type!r}; it must be one of {', '.join(SUBWORD_TYPES)}"
            )
        if vocab_file is None or not os.path.isfile(vocab_file):
            raise ValueError(
                f"there is no vocabulary file {vocab_file or 'vocab.txt'}; give its path, or the folder of a model "
                "to BertJapaneseTinySegmenterTokenizer.from_pretrained"
            )
        self.vocab = read_vocabulary(os.fspath(vocab_file))
        self.ids_to_tokens = list(self.vocab)
        self.do_lower_case = do_lower_case
        self.do_word_tokenize = do_word_tokenize
        self.do_subword_tokenize = do_subword_tokenize
        self.subword_tokenizer_type = subword_tokenizer_type
        self.never_split = never_split
        self.manual_subword_marking = manual_subword_marking
        # White space is a token only where it can be told from an unknown character: as an entry of its own.
        by_character = do_subword_tokenize and subword_tokenizer_type == "character"
        self._spaces = frozenset(entry for entry in self.vocab if by_character and len(entry) == 1 and entry.isspace())
        super().__init__(
            do_lower_case=do_lower_case,
            do_word_tokenize=do_word_tokenize,
            do_subword_tokenize=do_subword_tokenize,
            subword_tokenizer_type=subword_tokenizer_type,
            never_split=never_split,
            unk_token=unk_token,
            sep_token=sep_token,
            pad_token=pad_token,
            cls_token=cls_token,
            mask_token=mask_token,
            manual_subword_marking=manual_subword_marking,
            # transformers 5 adds no [CLS] and [SEP] unless told to.
            special_tokens_pattern="cls_sep",
            token_type_ids_pattern="bert_style",
            **kwargs,
        )

    # The vocabulary.

    @property
    def vocab_size(self) -> int:
        """Entries of `vocab.txt`, without tokens added later (`len(tokenizer)` counts those too)."""
        return len(self.vocab)

    def get_vocab(self) -> dict[str, int]:
        """Token → id, tokens added later included."""
        return {**self.vocab, **self.added_tokens_encoder}

    def _convert_token_to_id(self, token: str) -> int | None:
        unknown: int | None = self.unk_token_id if token != self.unk_token else None
        return self.vocab.get(token, unknown)

    def _convert_id_to_token(self, index: int) -> str:
        return self.ids_to_tokens[index] if 0 <= index < len(self.ids_to_tokens) else str(self.unk_token)

    def save_vocabulary(self, save_directory: str, filename_prefix: str | None = None) -> tuple[str]:
        """Write `vocab.txt`, one entry a line, into an existing folder; gives its path."""
        name = (filename_prefix + "-" if filename_prefix else "") + self.vocab_files_names["vocab_file"]
        path = os.path.join(save_directory, name)
        with open(path, "w", encoding="utf-8", newline="\n") as stream:
            stream.writelines(entry + "\n" for entry in self.vocab)
        return (path,)

    # Text → tokens.

    def tokenize(self, text: str, **kwargs: Any) -> list[str]:
        """The tokens of a text, without [CLS] and [SEP]. `split_special_tokens=True` reads `[MASK]` as plain text."""
        return [token for token, _, _ in self._tokens(text, located=False, **kwargs)]

    def _tokens(
        self, text: str, located: bool, split_special_tokens: bool | None = None, **_: Any
    ) -> Iterator[Token]:
        """Each token of a text, with its start and end in the text as given (no use is made of them unless `located`)."""
        plain_only = self.split_special_tokens if split_special_tokens is None else split_special_tokens
        for part, start, whole in [(text, 0, False)] if plain_only else self._split_whole_tokens(text):
            if whole:
                yield self._as_added(part), start, start + len(part)
            elif not located:
                yield from self._plain_tokens(normalise(part))
            else:
                plain, starts, ends = normalise_from(part)
                for token, first, end in self._plain_tokens(plain):
                    yield token, start + starts[first], start + ends[end - 1]

    def _split_whole_tokens(self, text: str) -> Iterator[tuple[str, int, bool]]:
        """Cut a text at special tokens, added tokens and `never_split`: part, start, whether it is such a token."""
        done = 0
        for match in self._whole_tokens.finditer(text):
            start, end = match.span()
            added = self._added_tokens_decoder.get(self._added_tokens_encoder.get(self._as_added(match[0]), -1))
            if added and added.single_word and not (text[:start][-1:] + text[end : end + 1]).isspace():
                pass
