"""A model folder ↔ its tokenizer as transformers' class, which AutoTokenizer reads too."""

import os
import shutil

from stages.words.reading import CONFIG, VOCABULARY, local_folder, read_tokenizer
from stages.words.tokenization import BertJapaneseTinySegmenterTokenizer


def read_tokenizer_class(folder: str) -> BertJapaneseTinySegmenterTokenizer:
    """The tokenizer of a model folder, without running the folder's code, without network.

    Refuses the same folders as `reading.read_tokenizer`.
    """
    read_tokenizer(folder)
    os.environ["HF_HUB_OFFLINE"] = "1"
    with local_folder(folder, (VOCABULARY, CONFIG)) as path:
        tokenizer: BertJapaneseTinySegmenterTokenizer = BertJapaneseTinySegmenterTokenizer.from_pretrained(path)
    return tokenizer


def write_tokenizer(
    folder: str | os.PathLike[str],
    vocab_path: str | os.PathLike[str],
    subword_tokenizer_type: str,
    max_length: int = 512,
) -> BertJapaneseTinySegmenterTokenizer:
    """Write the tokenizer's files into `folder`, which is created if necessary, and return the tokenizer.

    They are `vocab.txt` (the same bytes), `tokenizer_config.json`, and the code: `tokenization.py` and
    `japanese_subwords.py` (the same bytes, since transformers keeps one copy for all folders of the same name).

    subword_tokenizer_type: "wordpiece" or "character". max_length: positions of the model, in tokens.
    Raises ValueError (naming file and line) for a vocabulary that is missing or invalid.
    """
    tokenizer = BertJapaneseTinySegmenterTokenizer(
        vocab_path, subword_tokenizer_type=subword_tokenizer_type, model_max_length=max_length
    )
    tokenizer.save_pretrained(folder)
    shutil.copyfile(vocab_path, os.path.join(folder, VOCABULARY))
    return tokenizer
