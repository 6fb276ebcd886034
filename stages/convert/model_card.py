"""What is known of a model → its card, the README.md of the model folder."""

from typing import Any

CARD = """\
---
language: ja
library_name: transformers
pipeline_tag: fill-mask
tags: [albert, japanese, tinysegmenter]
---

# ALBERT for Japanese, {kind}, {layers} layers of {hidden}

A Japanese ALBERT (masked language model and sentence order prediction) whose words are split by TinySegmenter, without
a dictionary, and then into {subwords}.

| layers | hidden | intermediate | heads | embedding | positions | vocabulary | parameters |
| --- | --- | --- | --- | --- | --- | --- | --- |
| {layers} | {hidden} | {intermediate} | {heads} | {embedding} | {positions} | {vocabulary:,} | {parameters:,} |

## How to use

```python
from transformers import AlbertForMaskedLM, AutoTokenizer

tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=True)  # runs tokenization.py of this folder
model = AlbertForMaskedLM.from_pretrained(folder)
```

The tokenizer needs `tinysegmenter3` (never `tinysegmenter`, another package of the same module name). With this
project's `tokenization` module on the path, `import tokenization` makes `AutoTokenizer` load it without
`trust_remote_code`.

## Where it comes from

Converted from a TensorFlow checkpoint (SHA-256 of its data: `{checkpoint}`){step}. {parity}

## What it fills in

{filled}
"""


def model_card(
    config: dict[str, Any],
    subword_type: str,
    parameters: int,
    checkpoint: str,
    step: int | None,
    parity: dict[str, float] | None,
    filled: list[dict[str, Any]],
) -> str:
    """The card's text. `parity`: the largest differences from TensorFlow's logits, where they were checked."""
    checked = "Its outputs were not compared with TensorFlow's."
    if parity is not None:
        checked = f"Its logits differ from those of TensorFlow 1.15 by at most {max(parity.values()):.1e}."
    return CARD.format(
        kind=subword_type,
        subwords="WordPieces" if subword_type == "wordpiece" else "characters",
        layers=config["num_hidden_layers"],
        hidden=config["hidden_size"],
        intermediate=config["intermediate_size"],
        heads=config["num_attention_heads"],
        embedding=config["embedding_size"],
        positions=config["max_position_embeddings"],
        vocabulary=config["vocab_size"],
        parameters=parameters,
        checkpoint=checkpoint,
        step="" if step is None else f" after {step:,} training steps",
        parity=checked,
        filled="\n".join(f"- {line['text']} → {' '.join(word for word, _ in line['words'])}" for line in filled),
    )
