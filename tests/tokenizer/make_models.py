"""A script for the converting stage's Python: model folders with random weights, and what PyTorch says of some texts.

Arguments: the folder of `vocab`, and one to write `character/tiny` and `wordpiece_tinysegmenter/tiny` into. Beside them
`filled.json`: texts with masks, and for each model and text the five best entries at each mask, by PyTorch.
"""

import json
import sys
from pathlib import Path
from typing import Any

import torch
from transformers import AlbertConfig, AlbertForPreTraining

from stages.convert.onnx_model import write_onnx
from stages.formats.albert_config import model_config
from stages.words.model_folder import write_tokenizer

CONFIG = {
    "embedding_size": 16, "hidden_size": 24, "intermediate_size": 40, "max_position_embeddings": 64,
    "num_attention_heads": 2, "num_hidden_layers": 2, "type_vocab_size": 2,
}  # fmt: skip
TEXTS = [
    "日本の[MASK]は、川である。",
    "[MASK]",
    "山と[MASK]と[MASK]と川。",
    "㌔メートルの道を[MASK]で歩く。𠮷野家の前。",
    "昔々、" + "山の中の" * 8 + "[MASK]。",
]


def main(vocabularies: Path, out: Path) -> None:
    filled = {}
    for seed, name in enumerate(("character", "wordpiece_tinysegmenter")):
        folder = out / name / "tiny"
        tokenizer = write_tokenizer(folder, vocabularies / name / "vocab.txt", name.split("_")[0], 64)
        torch.manual_seed(seed)
        config = model_config({**CONFIG, "vocab_size": len(tokenizer.vocab)})
        model = AlbertForPreTraining(AlbertConfig(**config)).eval()  # type: ignore[no-untyped-call]
        with torch.no_grad():
            for part, parameter in model.named_parameters():
                parameter.normal_(float(part.endswith("LayerNorm.weight") or "layer_norm.weight" in part), 0.3)
        model.save_pretrained(folder)
        arrays = {part: tensor.numpy() for part, tensor in model.state_dict().items()}
        write_onnx(str(folder), config, arrays)
        filled[f"{name}/tiny"] = [best(model, tokenizer, text) for text in TEXTS]
    (out / "filled.json").write_text(json.dumps({"texts": TEXTS, "filled": filled}), encoding="utf-8")


def best(model: Any, tokenizer: Any, text: str) -> list[Any]:
    """For each mask of a text: the five most probable entries and their probabilities, special ones left out."""
    ids = torch.tensor([tokenizer(text)["input_ids"]])
    with torch.inference_mode():
        logits = model(ids).prediction_logits[0, ids[0] == tokenizer.mask_token_id]
    probabilities = logits.softmax(-1)
    probabilities[:, tokenizer.all_special_ids] = 0
    values, indices = probabilities.topk(5)
    return [
        [[tokenizer.convert_ids_to_tokens(int(id_)), float(value)] for id_, value in zip(*row, strict=True)]
        for row in zip(indices, values, strict=True)
    ]


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
