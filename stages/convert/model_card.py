"""The facts on a model → its card, the README.md of the model folder, with metadata for the Hub.

The text is model_card.jinja. Unknown facts are left out.
"""

import re
from pathlib import Path
from typing import Any, NamedTuple

from huggingface_hub import EvalResult, ModelCardData
from jinja2 import Environment, FileSystemLoader

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


class ModelFacts(NamedTuple):
    """The content of a card. `parity`: the largest differences from the checkpoint's own logits, None if unchecked.
    `onnx`: the largest difference of model.onnx from PyTorch. `provenance`: see `provenance.provenance`.
    """

    config: Facts
    subwords: str
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
    files = facts.provenance.get("corpus", {}).get("files", [])
    names = [str(file["name"]) for file in files]
    date = re.search(r"jawiki-(\d{4})(\d{2})(\d{2})-", names[0]) if names else None
    from_wikipedia = bool(files) and all(
        file["kind"] == "cirrussearch" and "wiki" in str(file["name"]) for file in files
    )
    licence = facts.licence or (WIKIPEDIA_LICENCE if from_wikipedia else None)
    templates = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True,
    )  # fmt: skip
    templates.filters["thousands"] = "{:,}".format
    text: str = templates.get_template("model_card.jinja").render(
        {**facts._asdict(), **facts.provenance},
        metadata=_metadata(facts, licence),
        names=names,
        date=date and "-".join(date.groups()),
        licence=licence,
        from_wikipedia=from_wikipedia,
        programs=PROGRAMS,
        metric_names=METRICS,
    )
    return text


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
        model_name=f"albert-japanese-{facts.subwords}" if results else None,
        eval_results=results or None,
    )
    return str(data)
