"""The facts on a model → its card, the README.md of the model folder, with metadata for the Hub.

The text is model_card.jinja. Unknown facts are left out.
"""

import re
from pathlib import Path
from typing import Any

from huggingface_hub import EvalResult, ModelCardData
from jinja2 import Environment, FileSystemLoader

# The default licence of models of Wikipedia's text. Models of other texts have no default.
WIKIPEDIA_LICENCE = "cc-by-sa-4.0"


def model_card(config: dict[str, Any], record: dict[str, Any], inputs: dict[str, Any], facts: dict[str, Any]) -> str:
    """The card. `config`: transformers' configuration; the others: the manifest's options, inputs and own sections."""
    provenance = inputs.get("provenance", {})
    files = provenance.get("corpus", {}).get("files", [])
    names = [str(file["name"]) for file in files]
    date = re.search(r"jawiki-(\d{4})(\d{2})(\d{2})-", names[0]) if names else None
    from_wikipedia = bool(files) and all(
        file["kind"] == "cirrussearch" and "wiki" in str(file["name"]) for file in files
    )
    licence = record.get("license") or (WIKIPEDIA_LICENCE if from_wikipedia else None)
    # masked_lm_loss → masked LM loss (nats)
    labels = {
        name: name.replace("_lm_", " LM ").replace("_", " ") + " (nats)" * name.endswith("_loss")
        for name in facts["metrics"]
    }
    results = [
        EvalResult(
            task_type="fill-mask", dataset_type="held-out", dataset_name="held-out shards", metric_type=name,
            metric_name=labels[name], metric_value=value,
        )
        for name, value in facts["metrics"].items()
    ]  # fmt: skip
    metadata = ModelCardData(
        language="ja",
        license=licence,
        library_name="transformers",
        pipeline_tag="fill-mask",
        tags=["albert", "japanese", "tinysegmenter", "onnx"],
        model_name=f"albert-japanese-{record['subwords']}" if results else None,
        eval_results=results or None,
    )
    templates = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True,
    )  # fmt: skip
    templates.filters["thousands"] = "{:,}".format
    text: str = templates.get_template("model_card.jinja").render(
        **record, **facts, **provenance,
        config=config, checkpoint=inputs["checkpoint"][0], provenance=provenance, metadata=metadata, names=names,
        date=date and "-".join(date.groups()), licence=licence, from_wikipedia=from_wikipedia, metric_names=labels,
    )  # fmt: skip
    return text
