"""A folder of vocabularies → model folders of the tiny models, with random weights and model.onnx.

Arguments: the folder of `vocab`, the folder to write `character/tiny` and `wordpiece_tinysegmenter/tiny` into.
"""

import json
from pathlib import Path

import torch
from transformers import AlbertConfig, AlbertForPreTraining

from stages.convert.onnx_model import write_onnx
from stages.formats.albert_config import model_config
from stages.words.model_folder import write_tokenizer

CONFIGS = Path(__file__).resolve().parents[3] / "stages" / "tpu_train" / "configs"


def main(vocabularies: str, out: str) -> None:
    for seed, name in enumerate(("character", "wordpiece_tinysegmenter")):
        folder = Path(out) / name / "tiny"
        settings = json.loads((CONFIGS / f"{name}_tiny.json").read_text(encoding="utf-8"))
        length = settings["max_position_embeddings"]
        tokenizer = write_tokenizer(folder, Path(vocabularies) / name / "vocab.txt", name.split("_")[0], length)
        config = model_config({**settings, "vocab_size": len(tokenizer.vocab)})
        torch.manual_seed(seed)
        model = AlbertForPreTraining(AlbertConfig(**config)).eval()  # type: ignore[no-untyped-call]
        with torch.no_grad():
            # With this spread, the best entries at a mask are far apart, and differ from mask to mask.
            for part, parameter in model.named_parameters():
                if not part.rpartition(".")[0].lower().endswith(("layernorm", "layer_norm")):
                    parameter.normal_(0.0, 0.1)
        model.save_pretrained(folder)
        write_onnx(str(folder), config, {part: tensor.numpy() for part, tensor in model.state_dict().items()})
