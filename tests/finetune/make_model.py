"""For the training stage's Python: a small random ALBERT as a model folder, for characters."""

import json
import os
import tempfile

import torch
from transformers import AlbertConfig, AlbertForPreTraining

from stages.formats.albert_config import model_config
from stages.words.model_folder import write_tokenizer

CONFIG = {
    "embedding_size": 16, "hidden_size": 24, "intermediate_size": 48, "max_position_embeddings": 64,
    "num_attention_heads": 2, "num_hidden_layers": 1, "type_vocab_size": 2, "initializer_range": 0.1,
}  # fmt: skip
# Other settings than write_tokenizer's.
TOKENIZER = {"never_split": ["◎◎"], "truncation_side": "left"}


def main(folder: str, characters: str) -> None:
    """Save the model, whose vocabulary has these characters."""
    entries = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *sorted(set(characters))]
    with tempfile.TemporaryDirectory() as scratch:
        vocabulary = os.path.join(scratch, "vocab.txt")
        with open(vocabulary, "w", encoding="utf-8") as stream:
            stream.writelines(entry + "\n" for entry in entries)
        write_tokenizer(folder, vocabulary, "character", 64)
    # Settings that a user may have changed. They change nothing for the texts of the tests.
    path = os.path.join(folder, "tokenizer_config.json")
    with open(path, encoding="utf-8") as stream:
        settings = json.load(stream)
    with open(path, "w", encoding="utf-8") as stream:
        json.dump({**settings, **TOKENIZER}, stream)
    torch.manual_seed(1)
    config = model_config({**CONFIG, "vocab_size": len(entries)})
    AlbertForPreTraining(AlbertConfig(**config)).save_pretrained(folder)
