"""The facts on a model → its card, the README.md of the model folder, with metadata for the Hub.

Unknown facts are left out.
"""

import re
from typing import Any, NamedTuple

from huggingface_hub import EvalResult, ModelCardData

Facts = dict[str, Any]
METRICS = {
    "masked_lm_accuracy": "masked LM accuracy",
    "masked_lm_loss": "masked LM loss (nats)",
    "sentence_order_accuracy": "sentence order accuracy",
    "sentence_order_loss": "sentence order loss (nats)",
}
PROGRAMS = {"train": "PyTorch, `train`", "tpu-train": "TensorFlow 1.15, `tpu-train`"}
# The default licence of models of Wikipedia's text. Models of other texts have no default.
WIKIPEDIA_LICENCE = "cc-by-sa-4.0"

CARD = """\
---
{metadata}
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

`model.onnx` is the masked language model for ONNX runtimes, without PyTorch: `input_ids`, `attention_mask` and
`token_type_ids` (int64, any batch and length) → `logits`.

```python
import onnxruntime

inputs = dict(tokenizer(["日本の首都は[MASK]である。"], return_tensors="np"))
(logits,) = onnxruntime.InferenceSession(f"{{folder}}/model.onnx").run(None, inputs)
```

## Where it comes from

{origin}

## What it fills in

{filled}

## Limits

- It has read what its corpus says, and repeats its prejudices and its errors.
- At most {positions} tokens a text. It was trained on passages that fill its examples: of a few words alone it is less
  sure.
- TinySegmenter has no dictionary. Some words, names above all, it splits wrongly, and the model has read them so.
- It fills gaps and gives vectors. It writes no texts, knows nothing for certain, and is to be fine-tuned for a task.

## Licence

{licence}
"""


class ModelFacts(NamedTuple):
    """The content of a card. `parity`: the largest differences from the checkpoint's own logits, None if unchecked.
    `onnx`: the largest difference of model.onnx from PyTorch. `provenance`: see `provenance.provenance`.
    """

    config: Facts
    subword_type: str
    parameters: int
    checkpoint: str
    program: str
    step: int | None
    metrics: dict[str, float]
    parity: dict[str, float] | None
    onnx: float
    filled_masks: list[Facts]
    provenance: dict[str, Facts]
    licence: str | None
    compact: bool = False


def model_card(facts: ModelFacts) -> str:
    config = facts.config
    licence = facts.licence or (WIKIPEDIA_LICENCE if _from_wikipedia(facts.provenance) else None)
    return CARD.format(
        metadata=_metadata(facts, licence),
        kind=facts.subword_type,
        subwords="WordPieces" if facts.subword_type == "wordpiece" else "characters",
        layers=config["num_hidden_layers"],
        hidden=config["hidden_size"],
        intermediate=config["intermediate_size"],
        heads=config["num_attention_heads"],
        embedding=config["embedding_size"],
        positions=config["max_position_embeddings"],
        vocabulary=config["vocab_size"],
        parameters=facts.parameters,
        origin="\n".join([*_origin(facts), *_recipe(facts.provenance), *_evaluation(facts.metrics)]),
        filled="\n".join(
            f"- {line['text']} → {' '.join(word for word, _ in line['words'])}" for line in facts.filled_masks
        ),
        licence=_licences(facts.provenance, licence),
    )


def _metadata(facts: ModelFacts, licence: str | None) -> str:
    """The card's YAML, written by the Hub's own package."""
    results = [
        EvalResult(
            task_type="fill-mask", dataset_type="held-out", dataset_name="held-out shards", metric_type=name,
            metric_name=METRICS[name], metric_value=value,
        )
        for name, value in facts.metrics.items()
    ]  # fmt: skip
    data = ModelCardData(
        language="ja",
        license=licence,
        library_name="transformers",
        pipeline_tag="fill-mask",
        tags=["albert", "japanese", "tinysegmenter", "onnx"],
        model_name=f"albert-japanese-{facts.subword_type}" if results else None,
        eval_results=results or None,
    )
    return str(data)


def _origin(facts: ModelFacts) -> list[str]:
    step = "" if facts.step is None else f" after {facts.step:,} training steps"
    comparison = f"Its outputs were not compared with {facts.program}'s."
    if facts.parity is not None:
        program = "TensorFlow 1.15" if facts.program == "TensorFlow" else "the checkpoint"
        comparison = f"Its logits differ from those of {program} by at most {max(facts.parity.values()):.1e}."
    return [
        f"Converted from a {facts.program} checkpoint (SHA-256 of its data: `{facts.checkpoint}`){step}. {comparison}",
        f"Those of `model.onnx` differ from PyTorch's by at most {facts.onnx:.1e}.",
        *(["The weights are kept as float16, token embeddings of `model.onnx` as int8."] if facts.compact else []),
    ]


def _recipe(provenance: dict[str, Facts]) -> list[str]:
    """A line each for the corpus, the examples and the training, if their manifests are there."""
    lines = [""] if provenance else []
    corpus, records, training = (provenance.get(name) for name in ("corpus", "tfrecords", "training"))
    if corpus:
        counts = corpus["counts"]
        names = [str(file["name"]) for file in corpus["files"]]
        files = ", ".join(f"`{name}`" for name in names[:3]) + f" and {len(names) - 3} more files" * (len(names) > 3)
        date = re.search(r"jawiki-(\d{4})(\d{2})(\d{2})-", names[0]) if names else None
        day = f", a dump of Japanese Wikipedia of {'-'.join(date.groups())}" if date else ""
        lines.append(
            f"- Corpus: {files}{day}: {counts['articles_kept']:,} articles, {counts['sentences_kept']:,} sentences, "
            f"{counts['characters_kept']:,} characters."
        )
    if records:
        options, examples = records["options"], records["counts"].get("examples")
        masked = (
            f"{options['masked_lm_prob']:.0%} of the tokens masked but at most {options['max_predictions']}, n-grams "
            f"of up to {options['ngram']} words, {options['dupe_factor']} copies of the corpus, masked differently"
        )
        masked = "masked by the training" if options.get("unmasked") else masked
        lines.append(f"- Examples: {f'{examples:,} ' if examples else ''}of {options['seq_length']} tokens, {masked}.")
    if training:
        options = training["options"]
        parts = [PROGRAMS[training["program"]]]
        for name, words in (
            ("steps", "{:,} steps"), ("batch", "of {:,} examples"), ("learning_rate", "peak rate {:g}"),
            ("warmup", "warm-up of {:,} steps"), ("seed", "seed {}"),
        ):  # fmt: skip
            if isinstance(options.get(name), int | float):
                parts.append(words.format(options[name]))
        parts += ["masked anew each epoch"] * bool(options.get("dynamic_masking"))
        efficient = options.get("recipe") == "efficient"
        parts += ["recipe `efficient` (Muon and AdamW)"] if efficient else ["LAMB"]
        lines.append(f"- Training: {', '.join(parts).replace(' steps, of', ' steps of')}.")
    return lines


def _evaluation(metrics: dict[str, float]) -> list[str]:
    """A table of the evaluation on held-out examples."""
    if not metrics:
        return []
    rows = [f"| {METRICS[name]} | {value:.4f} |" for name, value in metrics.items()]
    return ["", "| on held-out examples | |", "| --- | ---: |", *rows]


def _from_wikipedia(provenance: dict[str, Facts]) -> bool:
    files = provenance.get("corpus", {}).get("files", [])
    return bool(files) and all(file["kind"] == "cirrussearch" and "wiki" in str(file["name"]) for file in files)


def _licences(provenance: dict[str, Facts], licence: str | None) -> str:
    code = "The tokenizer's code (`tokenization.py`, `japanese_subwords.py`): Apache-2.0."
    if _from_wikipedia(provenance):
        data = "The text it was trained on is Wikipedia's, by its authors, under CC BY-SA."
    else:
        data = "The texts it was trained on have licences of their own."
    return "\n".join([code, f"Weights: {licence}." if licence else "Nothing is said here of the weights.", data])
