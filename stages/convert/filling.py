"""A model folder → the model's predictions for `[MASK]` in a few sentences."""

from typing import Any

import torch
from transformers import AlbertForMaskedLM

from stages.words.tokenization import BertJapaneseTinySegmenterTokenizer

SENTENCES = (
    "日本の首都は[MASK]である。",
    "この川は[MASK]に流れ込む。",
    "[MASK]は、江戸時代の文化を代表する。",
    "水は100度で[MASK]する。",
)


def fill_masks(folder: str, tokenizer: BertJapaneseTinySegmenterTokenizer, top: int = 5) -> list[dict[str, Any]]:
    """The `top` most probable entries at the mask of each sentence: `[{"text", "words": [[word, probability]]}]`.

    Special entries ([UNK] and the like) are left out.
    """
    model = AlbertForMaskedLM.from_pretrained(folder).eval()
    lines = []
    for text in SENTENCES:
        ids = torch.tensor([tokenizer(text)["input_ids"]])
        with torch.inference_mode():
            logits = model(ids).logits[0, ids[0] == tokenizer.mask_token_id][0]
        probabilities = logits.softmax(-1)
        probabilities[tokenizer.all_special_ids] = 0
        best = probabilities.topk(top)
        words = [tokenizer.convert_ids_to_tokens(number) for number in best.indices.tolist()]
        pairs = zip(words, best.values.tolist(), strict=True)
        lines.append({"text": text, "words": [[word, round(probability, 4)] for word, probability in pairs]})
    return lines
