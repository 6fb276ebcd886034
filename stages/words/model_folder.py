"""A vocabulary → the tokenizer's files in a model folder, which AutoTokenizer reads.

The files are `vocab.txt` (the same bytes), `tokenizer_config.json`, and the code: `tokenization.py` and
`japanese_subwords.py` (the same bytes, since transformers keeps one copy for all folders of the same name).
"""

import os
import shutil

from stages.words.tokenization import BertJapaneseTinySegmenterTokenizer


def write_tokenizer(
    folder: str | os.PathLike[str],
    vocab_path: str | os.PathLike[str],
    subword_tokenizer_type: str,
    max_length: int = 512,
) -> BertJapaneseTinySegmenterTokenizer:
    """Write the tokenizer's files into `folder`, which is created if necessary, and return the tokenizer.

    subword_tokenizer_type: "wordpiece" or "character". max_length: positions of the model, in tokens.
    Raises ValueError (naming file and line) for a vocabulary that is missing or invalid.
    """
    tokenizer = BertJapaneseTinySegmenterTokenizer(
        vocab_path, subword_tokenizer_type=subword_tokenizer_type, model_max_length=max_length
    )
    tokenizer.save_pretrained(folder)
    shutil.copyfile(vocab_path, os.path.join(folder, "vocab.txt"))
    return tokenizer
