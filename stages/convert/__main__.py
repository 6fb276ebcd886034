"""Convert an ALBERT checkpoint and its vocabulary to a folder for transformers' from_pretrained and for ONNX runtimes.

The checkpoint is a TensorFlow one, of Google's program or of tpu-train, or a PyTorch folder of train.
"""

import os
import shutil
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from stages.command.options import decisive, parse
from stages.command.refusal import Refusal, unwritable
from stages.command.running import run
from stages.convert.options import Options
from stages.convert.provenance import provenance
from stages.convert.sources import CONFIG, MODEL, Source, read_source
from stages.handover import storage
from stages.handover.manifests import claim, write_manifest
from stages.handover.storage import describe, sha256
from stages.words.reading import read_vocabulary

PACKAGES = ("torch", "transformers", "safetensors", "tinysegmenter3", "onnx", "onnxruntime")


def main(arguments: list[str]) -> None:
    """Check everything that needs no large library, then convert."""
    options = parse(Options, "convert", __doc__, arguments)
    source = read_source(options)
    vocabulary, size = read_vocabulary(options.vocab, "; make vocab writes it"), source.settings["vocab_size"]
    if len(vocabulary) != size:
        raise Refusal(
            f"{options.vocab} has {len(vocabulary):,} entries, but vocab_size is {size:,} in the configuration; "
            "take the vocabulary that the model was trained with"
        )
    has_pieces = any(entry.startswith("##") and len(entry) > 2 for entry in vocabulary)
    subwords = options.subwords or ("wordpiece" if has_pieces else "character")
    chosen = {name: value for name, value in decisive(options).items() if value}
    record = {**chosen, "subwords": subwords, "verify": options.verify}
    inputs: dict[str, Any] = {
        "checkpoint": source.digests,
        "config": sha256(source.config_file),
        "vocabulary": sha256(options.vocab),
    }
    origin = provenance(options.checkpoint, source.config, inputs["vocabulary"], options.tfrecords, options.corpus)
    if origin:
        inputs["provenance"] = origin
    if claim("convert", options.out, record, inputs):
        print(f"convert: {options.out} is finished already", file=sys.stderr)
        return
    try:
        _convert(options, source, record, inputs)
    except OSError as error:
        raise unwritable(options.out, error)


def _convert(options: Options, source: Source, record: dict[str, Any], inputs: dict[str, Any]) -> None:
    # Nothing is fetched here, and the libraries' own messages are of no use.
    os.environ.update(HF_HUB_OFFLINE="1", TRANSFORMERS_VERBOSITY="error")
    # As in stages.train: PyTorch's threads must not wait actively beside other work.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    from safetensors.numpy import save
    from transformers import AlbertConfig, AlbertForPreTraining
    from transformers.utils import logging

    from stages.convert import outputs
    from stages.convert.model_card import model_card
    from stages.convert.onnx_model import ACTIVATIONS, IR, OPSET, write_onnx
    from stages.words.model_folder import write_tokenizer

    logging.disable_progress_bar()
    settings, out = source.settings, options.out
    activation = settings["hidden_act"]
    if activation not in ACTIVATIONS:
        supported = ", ".join(ACTIVATIONS)
        raise Refusal(f"hidden_act is {activation} in the configuration; model.onnx supports only {supported}")
    if storage.written_once(out):
        scratch = tempfile.mkdtemp(prefix="model-")
    else:
        scratch = os.path.join(out, ".model.partial")
        shutil.rmtree(scratch, ignore_errors=True)
        os.mkdir(scratch)

    # The type in which the weights are loaded is float32 for compact ones, too.
    AlbertConfig(**settings, architectures=["AlbertForPreTraining"], dtype="float32").save_pretrained(scratch)
    stored = np.float16 if options.compact else np.float32
    weights = {name: array.astype(stored, copy=False) for name, array in source.arrays.items()}
    Path(scratch, MODEL).write_bytes(save(weights, {"format": "pt"}))
    with storage.fetched(options.vocab) as vocabulary:
        tokenizer = write_tokenizer(scratch, vocabulary, record["subwords"], settings["max_position_embeddings"])
    tolerance = outputs.COMPACT_TOLERANCE if options.compact else outputs.TOLERANCE
    model = AlbertForPreTraining.from_pretrained(scratch).eval()
    parity = outputs.checkpoint_differences(model, source, options.reference) if options.verify else None
    # `not <`: NaN is refused too.
    if parity and not all(value < tolerance for value in parity.values()):
        config = options.config or CONFIG
        raise Refusal(f"the converted model differs from {source.program}'s: {parity}; is {config} its configuration?")
    write_onnx(scratch, settings, source.arrays, options.compact)
    onnx = outputs.onnx_difference(model, scratch, settings, tokenizer)
    if not onnx < tolerance:
        raise Refusal(f"the logits of model.onnx differ from PyTorch's by {onnx:.1e}; please report it, with the model")
    facts: dict[str, Any] = {
        "parameters": sum(array.size for array in source.arrays.values()),
        "program": source.program,
        "step": source.step,
        "metrics": source.metrics,
        "parity": parity,
        "onnx": {"opset": OPSET, "ir": IR, "difference": onnx},
        "filled_masks": outputs.fill_masks(model, tokenizer),
    }
    Path(scratch, "README.md").write_text(model_card(settings, record, inputs, facts), encoding="utf-8")

    names = sorted(os.listdir(scratch))
    files = {name: describe(os.path.join(scratch, name)) for name in names}
    storage.put_all([(os.path.join(scratch, name), storage.join(out, name)) for name in names])
    os.rmdir(scratch)
    versions = {name: version(name) for name in PACKAGES}
    write_manifest("convert", out, record, inputs, files, versions=versions, **facts)
    print(f"convert: wrote {out}: {facts['parameters']:,} parameters, {record['subwords']}", file=sys.stderr)
    if parity:
        differences = ", ".join(f"{name.replace('_', ' ')} {value:.1e}" for name, value in parity.items())
        print(f"convert: largest difference from {source.program}: {differences}", file=sys.stderr)
    print(f"convert: largest difference of model.onnx from PyTorch: {onnx:.1e}", file=sys.stderr)
    for line in facts["filled_masks"]:
        print(line["text"], "→", " ".join(f"{word} {probability:.1%}" for word, probability in line["words"]))


if __name__ == "__main__":
    sys.exit(run("convert", main))
