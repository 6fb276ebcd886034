"""Text → tokens and ids for ALBERT, in the form of a transformers tokenizer.

NFKC without what is not printable, then words (TinySegmenter), then WordPieces or characters; the rules are in
`japanese_subwords`. This file and that one are shipped in every model folder, for
`AutoTokenizer.from_pretrained(…, trust_remote_code=True)`.
Importing this file as `tokenization` makes the class known to AutoTokenizer without that flag.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import Any

from transformers import AddedToken, BatchEncoding, PreTrainedTokenizer
from transformers.tokenization_utils_base import TruncationStrategy
from transformers.utils.generic import PaddingStrategy

try:
    from .japanese_subwords import (
        SubwordTokenizer,
        WholeToken,
        joined,
        normalise,
        read_vocabulary,
        refuse_surrogates,
    )
except ImportError:
    if __package__:
        raise
    # Imported as the top-level module `tokenization`.
    from japanese_subwords import (  # type: ignore[import-not-found, no-redef]
        SubwordTokenizer,
        WholeToken,
        joined,
        normalise,
        read_vocabulary,
        refuse_surrogates,
    )

# What transformers may be asked for besides; it then encodes one text after the other.
_OTHER_RESULTS = ("return_overflowing_tokens", "return_special_tokens_mask", "sanitize_control_tokens")


class BertJapaneseTinySegmenterTokenizer(PreTrainedTokenizer):
    """Tokenizer of the Japanese ALBERT models: TinySegmenter words, cut into WordPieces or characters.

    vocab_file: one entry a line, the id is the line number from 0.
    do_lower_case: lower the words (after they are split, which depends on case).
    do_word_tokenize: split words with TinySegmenter; else white space alone separates them.
    do_subword_tokenize: cut words into subwords; else a word that is not in the vocabulary is unknown.
    subword_tokenizer_type: "wordpiece" (a word that cannot be covered is one [UNK]) or "character".
    never_split: strings that are a token each wherever they stand in a text, beside the special tokens.
    manual_subword_marking: with "character", put `##` before all but the first character of a word.

    `rules` is what turns texts into tokens; compiled where it can be, otherwise all is the same, but slower.

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
        self.rules = SubwordTokenizer(
            self.vocab,
            subword_tokenizer_type=subword_tokenizer_type,
            do_lower_case=do_lower_case,
            do_word_tokenize=do_word_tokenize,
            do_subword_tokenize=do_subword_tokenize,
            manual_subword_marking=manual_subword_marking,
            unk_token=str(unk_token),
        )
        super().__init__(  # type: ignore[no-untyped-call]
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
        if token in self.vocab:
            return self.vocab[token]
        return None if token == self.unk_token else self.unk_token_id

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

    def tokenize(self, text: str, **kwargs: Any) -> list[str]:  # type: ignore[override]
        """The tokens of a text, without [CLS] and [SEP]. `split_special_tokens=True` reads `[MASK]` as plain text."""
        return [token for token, _, _, _ in self.rules.tokens(text, False, self._plain_only(**kwargs))]

    def _plain_only(self, split_special_tokens: bool | None = None, **_: Any) -> bool:
        return bool(self.split_special_tokens if split_special_tokens is None else split_special_tokens)

    def _update_trie(self, unique_no_split_tokens: list[str] | None = None) -> None:
        """Take note of the strings that are a token each; transformers calls this whenever tokens are added.

        One regular expression takes the place of transformers' trie: it tells where each token stands, and is faster.
        """
        listed = [*(self.never_split or ()), *(unique_no_split_tokens or ())]
        whole = {content: WholeToken(content, normalized=True, special=False) for content in listed if content}
        for token in self._added_tokens_decoder.values():
            whole[token.content] = WholeToken(
                token.content, token.single_word, token.lstrip, token.rstrip, token.normalized, token.special
            )
        self.rules.mark_whole(whole.values())

    # Tokens → text.

    def convert_tokens_to_string(self, tokens: list[str]) -> str:
        """Japanese is written without spaces: the tokens joined, the `##` of WordPieces dropped."""
        return joined(tokens)

    # Texts → what a model is given, with offsets, which transformers leaves to the tokenizers it compiles.

    def _encode_plus(  # type: ignore[override]
        self,
        text: Any,
        text_pair: Any = None,
        *,
        return_offsets_mapping: bool = False,
        is_split_into_words: bool = False,
        **options: Any,
    ) -> BatchEncoding:
        """What `tokenizer(…)` calls. Texts are encoded here where the rules are compiled, and one text with offsets
        in any case; all else (pairs, texts split into words, overflowing tokens) by transformers.

        `offset_mapping` holds a (start, end) in the text as given for each token, (0, 0) for [CLS], [SEP] and
        [PAD]. Of a text split into words, places count from the start of the word.
        """
        if self.rules.compiled is not None and text and text_pair is None:
            texts = [text] if isinstance(text, str) else text
            other = is_split_into_words or any(map(options.get, _OTHER_RESULTS))
            if not other and isinstance(texts, list | tuple) and all(isinstance(each, str) for each in texts):
                return self._encode_texts(texts, texts is not text, return_offsets_mapping, **options)
        one = isinstance(text, str) or (is_split_into_words and (not text or isinstance(text[0], str)))
        if return_offsets_mapping and one:
            return self._encode_located(text, text_pair, **options)
        return super()._encode_plus(
            text,
            text_pair,
            return_offsets_mapping=return_offsets_mapping,
            is_split_into_words=is_split_into_words,
            **options,
        )

    def _encode_texts(
        self,
        texts: Sequence[str],
        one: bool,
        located: bool,
        padding_strategy: PaddingStrategy,
        truncation_strategy: TruncationStrategy,
        add_special_tokens: bool = True,
        max_length: int | None = None,
        split_special_tokens: bool | None = None,
        pad_to_multiple_of: int | None = None,
        padding_side: str | None = None,
        return_tensors: str | None = None,
        return_token_type_ids: bool | None = None,
        return_attention_mask: bool | None = None,
        return_length: bool = False,
        verbose: bool = True,
        **_: Any,
    ) -> BatchEncoding:
        """What transformers gives for a batch of texts, or for `one`, without its 100 µs a text."""
        before, after = self._frame() if add_special_tokens else ([], [])
        rows = []
        found = self._batch_ids(texts, split_special_tokens)
        if located:
            found = (self._located_ids(text, split_special_tokens) for text in texts)
        for ids in found:
            excess = len(before) + len(ids) + len(after) - (max_length or 0)
            if max_length and excess > 0 and truncation_strategy != TruncationStrategy.DO_NOT_TRUNCATE:
                ids = self.truncate_sequences(ids, None, excess, truncation_strategy)[0]
            rows.append([*before, *ids, *after])
            if len(rows[-1]) > self.model_max_length:
                self._eventual_warn_about_too_long_sequence(rows[-1], max_length, verbose)

        lengths = [len(row) for row in rows]
        width = 0  # No row is made shorter than it is.
        if padding_strategy != PaddingStrategy.DO_NOT_PAD:
            longest = padding_strategy == PaddingStrategy.LONGEST
            width = max(lengths) if longest or max_length is None else max_length
            width += -width % (pad_to_multiple_of or 1)
        left = (padding_side or self.padding_side) == "left"
        missing = [width - length for length in lengths]

        def padded(rows: list[list[Any]], value: Any) -> list[list[Any]]:
            if left:
                return [[value] * more + row for row, more in zip(rows, missing, strict=True)]
            return [row + [value] * more for row, more in zip(rows, missing, strict=True)]

        encoded: dict[str, list[Any]] = {"input_ids": padded(rows, self.pad_token_id) if width else rows}
        if return_token_type_ids or return_token_type_ids is None:
            encoded["token_type_ids"] = padded([[0] * length for length in lengths], self.pad_token_type_id)
        if located:
            encoded["offset_mapping"] = padded([[_place(id_) for id_ in row] for row in rows], (0, 0))
            encoded["input_ids"] = [[int(id_) for id_ in row] for row in encoded["input_ids"]]
        if return_length and not one:
            encoded["length"] = lengths
        if return_attention_mask or return_attention_mask is None:
            encoded["attention_mask"] = padded([[1] * length for length in lengths], 0)
        if return_length and one:  # transformers counts the padding here, and not above.
            encoded["length"] = [len(row) for row in encoded["input_ids"]]
        if not one:
            return BatchEncoding(encoded, tensor_type=return_tensors)
        first = {name: values[0] for name, values in encoded.items()}
        return BatchEncoding(first, tensor_type=return_tensors, prepend_batch_axis=True)

    def _frame(self) -> tuple[list[int], list[int]]:
        """The special tokens before and behind a text."""
        framed: list[int] = self.build_inputs_with_special_tokens([-1])
        place = framed.index(-1)
        return framed[:place], framed[place + 1 :]

    def _batch_ids(self, texts: Sequence[str], split_special_tokens: bool | None) -> Iterator[list[int]]:
        """The ids of each text; all text between whole tokens is looked up in one call."""
        plain_only = self._plain_only(split_special_tokens)
        plain: list[str] = []
        layout: list[list[str | None]] = []
        for text in texts:
            parts = list(self.rules.parts(text, plain_only))
            plain.extend(normalise(part) for part, _, token in parts if token is None)
            layout.append([token for _, _, token in parts])
        try:
            ids, ends = self.rules.look_up(plain)
        except UnicodeEncodeError:
            for text in texts:
                refuse_surrogates(text)
            raise
        done = 0
        following = iter(ends)
        for wholes in layout:
            of_text: list[int] = []
            for token in wholes:
                if token is None:
                    end = next(following)
                    of_text += ids[done:end]
                    done = end
                else:
                    of_text.append(int(self.convert_tokens_to_ids(token)))  # type: ignore[arg-type]
            yield of_text

    def _encode_located(
        self,
        text: str | list[str],
        text_pair: str | list[str] | None,
        padding_strategy: PaddingStrategy,
        truncation_strategy: TruncationStrategy,
        split_special_tokens: bool | None = None,
        pad_to_multiple_of: int | None = None,
        padding_side: str | None = None,
        return_tensors: str | None = None,
        return_attention_mask: bool | None = None,
        return_length: bool = False,
        **options: Any,
    ) -> BatchEncoding:
        ids = self._located_ids(text, split_special_tokens)
        pair_ids = None if text_pair is None else self._located_ids(text_pair, split_special_tokens)
        encoded = self.prepare_for_model(
            ids, pair_ids, truncation=truncation_strategy.value, return_attention_mask=False, **options
        )
        encoded["offset_mapping"] = [_place(id_) for id_ in encoded["input_ids"]]
        for key in {"input_ids", "overflowing_tokens"} & set(encoded):
            encoded[key] = [int(id_) for id_ in encoded[key]]
        padded = self.pad(
            encoded,
            padding=padding_strategy.value,
            max_length=options.get("max_length"),
            pad_to_multiple_of=pad_to_multiple_of,
            padding_side=padding_side,
            # Not left to `pad`, which forgets it for a text without tokens.
            return_attention_mask=return_attention_mask is not False,
        )
        if return_length:
            padded["length"] = len(padded["input_ids"])
        if return_tensors is not None:
            for key in {"overflowing_tokens", "num_truncated_tokens"} & set(padded):
                del padded[key]
        return BatchEncoding(dict(padded), tensor_type=return_tensors, prepend_batch_axis=True)

    def _located_ids(self, text: str | list[str], split_special_tokens: bool | None) -> list[int]:
        """The ids of a text, or of a text split into words, each a _LocatedId."""
        parts = [text] if isinstance(text, str) else text
        plain_only = self._plain_only(split_special_tokens)
        tokens = [token for part in parts for token in self.rules.tokens(part, True, plain_only)]
        ids: Any = self.convert_tokens_to_ids([token for token, _, _, _ in tokens])
        return [_LocatedId(id_, (start, end)) for id_, (_, start, end, _) in zip(ids, tokens, strict=True)]

    def _pad(self, encoded_inputs: Any, *, padding_side: str | None = None, **options: Any) -> Any:  # type: ignore[override]
        padded = super()._pad(encoded_inputs, padding_side=padding_side, **options)
        if "offset_mapping" in padded:
            offsets = padded["offset_mapping"]
            missing = [(0, 0)] * (len(padded["input_ids"]) - len(offsets))
            left = (padding_side or self.padding_side) == "left"
            padded["offset_mapping"] = missing + offsets if left else offsets + missing
        return padded


class _LocatedId(int):
    """An id that knows its place in the text.

    transformers cuts, joins and frames lists of ids whatever they are, so each id that is left brings the right
    place with it, for every truncation strategy, side and pattern of special tokens.
    """

    place: tuple[int, int]

    def __new__(cls, value: int, place: tuple[int, int]) -> _LocatedId:
        located = super().__new__(cls, value)
        located.place = place
        return located


def _place(id_: int) -> tuple[int, int]:
    """Where an id comes from; (0, 0) for a special token that stands in no text."""
    return getattr(id_, "place", (0, 0))


if __name__ == "tokenization":
    from transformers import AutoTokenizer, PreTrainedConfig

    # Makes the class known by its name alone: registered for no configuration of a model, it is used only where
    # a tokenizer_config.json names it. Not done for a copy in a model folder, nor for the command (0.6 s).
    AutoTokenizer.register(  # type: ignore[no-untyped-call]
        PreTrainedConfig, tokenizer_class=BertJapaneseTinySegmenterTokenizer
    )
