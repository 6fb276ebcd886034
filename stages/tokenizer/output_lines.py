"""A tokenizer and a text → the line of output that stands for it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .tokenization import BertJapaneseTinySegmenterTokenizer


@dataclass(frozen=True)
class Options:
    """What `encode` puts around and takes off a text."""

    special_tokens: bool = True
    max_length: int | None = None


def token_line(tokenizer: BertJapaneseTinySegmenterTokenizer, text: str) -> str:
    """The tokens, joined by spaces."""
    return " ".join(tokenizer.tokenize(text))


def json_line(tokenizer: BertJapaneseTinySegmenterTokenizer, text: str, options: Options) -> str:
    """A JSON object of three lists of one length: `input_ids`, `tokens`, `offsets`.

    An offset is [start, end] in the characters (code points) of the text as given, [0, 0] for [CLS] and [SEP].
    """
    encoded = tokenizer(
        text,
        add_special_tokens=options.special_tokens,
        truncation=options.max_length is not None,
        max_length=options.max_length,
        return_offsets_mapping=True,
        verbose=False,  # Else longer texts than the model takes give a warning.
    )
    ids = encoded["input_ids"]
    return json.dumps(
        {"input_ids": ids, "tokens": tokenizer.convert_ids_to_tokens(ids), "offsets": encoded["offset_mapping"]},
        ensure_ascii=False,
    )
