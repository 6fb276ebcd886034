"""A model folder → its tokenizer as transformers' class, for evaluation and fine-tuning."""

from __future__ import annotations

import os
import tempfile

from stages.handover import storage
from stages.words.reading import CONFIG, VOCABULARY, fetch_model, read_tokenizer
from stages.words.tokenization import BertJapaneseTinySegmenterTokenizer


def read_tokenizer_class(folder: str) -> BertJapaneseTinySegmenterTokenizer:
    """The tokenizer of a model folder as transformers' class, without running the folder's code, without network.

    Refuses the same folders as `reading.read_tokenizer`.
    """
    read_tokenizer(folder)
    os.environ["HF_HUB_OFFLINE"] = "1"
    tokenizer: BertJapaneseTinySegmenterTokenizer
    if not storage.remote(folder):
        tokenizer = BertJapaneseTinySegmenterTokenizer.from_pretrained(folder)
        return tokenizer
    with tempfile.TemporaryDirectory(prefix="model-") as copy:
        fetch_model(folder, copy, (VOCABULARY, CONFIG))
        tokenizer = BertJapaneseTinySegmenterTokenizer.from_pretrained(copy)
    return tokenizer
