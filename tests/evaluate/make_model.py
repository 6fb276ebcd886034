"""A script for the training stage's Python: save small random ALBERTs as model folders.

Arguments: for each a vocabulary, the kind of subwords, a folder, a seed. Frequent entries have a large bias, so that
the model is right now and then; large weights make what it says depend on the whole sentence.
"""

import sys

import torch
from transformers import AlbertConfig, AlbertForPreTraining

from stages.formats.albert_config import model_config
from stages.words.model_folder import write_tokenizer

CONFIG = {
    "embedding_size": 16, "hidden_size": 24, "intermediate_size": 40, "max_position_embeddings": 64,
    "num_attention_heads": 2, "num_hidden_layers": 2, "type_vocab_size": 2,
}  # fmt: skip


def main(vocabulary: str, subwords: str, folder: str, seed: int) -> None:
    tokenizer = write_tokenizer(folder, vocabulary, subwords, 64)
    torch.manual_seed(seed)
    model = AlbertForPreTraining(AlbertConfig(**model_config({**CONFIG, "vocab_size": len(tokenizer.vocab)})))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.normal_(float(name.endswith("LayerNorm.weight") or "layer_norm.weight" in name), 0.3)
        for place, entry in enumerate("の、。に年をはた"):
            model.predictions.bias[tokenizer.vocab[entry]] = 5 - 0.25 * place
    model.save_pretrained(folder)


if __name__ == "__main__":
    for first in range(1, len(sys.argv), 4):
        vocab, kind, out, number = sys.argv[first : first + 4]
        main(vocab, kind, out, int(number))
