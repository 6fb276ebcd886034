"""A model folder → its tokenizer in the form of transformers, for evaluation and fine-tuning."""

from __future__ import annotations

import os
import tempfile

from stages.handover import storage
from stages.words.reading import CONFIG, VOCABULARY, fetch_model, read_tokenizer
from stages.words.tokenization import BertJapaneseTinySegmenterTokenizer


def read_tokenizer_class(folder: str) -> BertJapaneseTinySegmenterTokenizer:
    """The tokenizer of a model folder as transformers' class: no code of the folder is run, no network asked.

    Refuses what `files.read_tokenizer` refuses.
    """
    read_tokenizer(folder)
    os.environ["HF_HUB_OFFLINE"] = "1"
    tokenizer: BertJapaneseTinySegmenterTokenizer
    if storage.remote(folder):
        with tempfile.TemporaryDirectory(prefix="model-") as copy:
            fetch_model(folder, copy, (VOCABULARY, CONFIG))
            tokenizer = BertJapaneseTinySegmenterTokenizer.from_pretrained(copy)
    else:
        tokenizer = BertJapaneseTinySegmenterTokenizer.from_pretrained(folder)
    return tokenizer
