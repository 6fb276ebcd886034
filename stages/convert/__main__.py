"""Convert an ALBERT checkpoint and its vocabulary to a folder for transformers' from_pretrained and for ONNX runtimes.

The checkpoint is a TensorFlow one, of Google's program or of tpu-train, or a PyTorch folder of train.
"""

import dataclasses
import os
import sys
import tempfile
from collections.abc import Callable
from importlib.metadata import version
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from stages.command.options import parse
from stages.command.refusal import Refusal, unwritable
from stages.command.running import run
from stages.convert import pytorch_checkpoint
from stages.convert.checkpoint import open_prefix
from stages.convert.files import (
    configuration_beside,
    fresh_scratch,
    local_inputs,
    open_checkpoint,
    open_config,
    open_vocabulary,
    publish,
    tensorflow_metrics,
)
from stages.convert.mapping import weights
from stages.convert.options import Options
from stages.convert.provenance import provenance
from stages.formats.albert_config import Mismatch, model_config
from stages.handover.manifests import claim, write_manifest
from stages.handover.storage import describe, sha256, whole_file


class Source(NamedTuple):
    """A checkpoint that passed its checks. `parity` compares a model folder with the checkpoint's own logits."""

    program: str
    config: dict[str, Any]
    config_file: str
    settings: dict[str, Any]
    arrays: dict[str, NDArray[np.float32]]
    step: int | None
    metrics: dict[str, float]
    digests: list[str]
    parity: Callable[[str], dict[str, float]]


def main(arguments: list[str]) -> None:
    """Fetch the inputs that are at gs://, then convert."""
    options = parse(Options, "convert", __doc__, arguments)
    paths = {name: getattr(options, name) for name in ("checkpoint", "config", "vocab", "reference")}
    paths["config"] = options.config or configuration_beside(options.checkpoint)
    with local_inputs(paths) as copies:
        changes: dict[str, Any] = copies
        _main(dataclasses.replace(options, **changes), options.checkpoint)


def _main(options: Options, checkpoint: str) -> None:
    """Check everything that needs no large library, then convert. `checkpoint`: the path before it was fetched."""
    try:
        source = _source(options)
        vocabulary = open_vocabulary(options.vocab, source.settings["vocab_size"])
    except Mismatch as error:
        raise Refusal(str(error))
    except ValueError as error:
        raise Refusal(f"{options.checkpoint}: {error}")

    subwords = options.subwords or (
        "wordpiece" if any(e.startswith("##") and len(e) > 2 for e in vocabulary) else "character"
    )
    record = {"subwords": subwords, "verify": options.verify}
    if options.compact:
        record["compact"] = True
    if options.license:
        record["license"] = options.license
    inputs: dict[str, Any] = {
        "checkpoint": source.digests,
        "config": sha256(source.config_file),
        "vocabulary": sha256(options.vocab),
    }
    facts = provenance(checkpoint, source.config, inputs["vocabulary"], options.tfrecords, options.corpus)
    if facts:
        inputs["provenance"] = facts
    if claim("convert", options.out, record, inputs):
        print(f"convert: {options.out} is finished already", file=sys.stderr)
        return
    try:
        _convert(options, source, subwords, record, inputs)
    except Mismatch as error:
        raise Refusal(str(error))
    except OSError as error:
        raise unwritable(options.out, error)


def _source(options: Options) -> Source:
    """The checkpoint at --checkpoint. Raises Mismatch, ValueError, Refusal."""
    prefix = open_prefix(options.checkpoint)
    folder = None if os.path.exists(prefix + ".index") else pytorch_checkpoint.find_folder(options.checkpoint)
    return _tensorflow_source(options) if folder is None else _pytorch_source(options, folder)


def _pytorch_source(options: Options, folder: str) -> Source:
    config_file = options.config or os.path.join(folder, pytorch_checkpoint.CONFIG)
    config = open_config(config_file)
    settings = model_config(config)
    arrays = pytorch_checkpoint.read_weights(folder, settings)
    digest = sha256(os.path.join(folder, pytorch_checkpoint.MODEL))
    state = pytorch_checkpoint.read_state(folder, digest)

    def parity(model: str) -> dict[str, float]:
        from stages.convert.parity import pytorch_differences  # its libraries take seconds to load

        return pytorch_differences(model, settings, folder)

    return Source("PyTorch", config, config_file, settings, arrays, state.step, state.metrics, [digest], parity)


def _tensorflow_source(options: Options) -> Source:
    config_file = options.config
    if not config_file:
        raise Refusal(
            f"a TensorFlow checkpoint needs --config, and {options.checkpoint} is not the folder of a PyTorch one"
        )
    config = open_config(config_file)
    checkpoint = open_checkpoint(options.checkpoint)
    settings = model_config(config)
    arrays = weights(checkpoint, settings)
    step = int(checkpoint.read("global_step")) if "global_step" in checkpoint.variables else None
    digests = [sha256(path) for path in checkpoint.data_files()]

    def parity(model: str) -> dict[str, float]:
        from stages.convert.parity import reference_file, tensorflow_differences

        with tempfile.TemporaryDirectory() as scratch:
            reference = reference_file(checkpoint, config_file, options.reference, scratch)
            return tensorflow_differences(model, checkpoint, reference)

    metrics = tensorflow_metrics(checkpoint.prefix, digests)
    return Source("TensorFlow", config, config_file, settings, arrays, step, metrics, digests, parity)


def _convert(options: Options, source: Source, subwords: str, record: dict[str, Any], inputs: dict[str, Any]) -> None:
    # Nothing is fetched here, and the libraries' own messages are of no use.
    os.environ.update(HF_HUB_OFFLINE="1", TRANSFORMERS_VERBOSITY="error")
    # As in stages.train: PyTorch's threads must not wait actively beside other work.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    from transformers.utils import logging

    from stages.convert.filling import fill_masks
    from stages.convert.model import write_model
    from stages.convert.model_card import ModelFacts, model_card
    from stages.convert.onnx_model import IR, OPSET, check_activation, write_onnx
    from stages.convert.parity import COMPACT_TOLERANCE, TOLERANCE, onnx_difference
    from stages.words.model_folder import write_tokenizer

    logging.disable_progress_bar()
    settings = source.settings
    check_activation(settings["hidden_act"])
    tolerance = COMPACT_TOLERANCE if options.compact else TOLERANCE
    scratch = fresh_scratch(options.out)
    parameters = write_model(scratch, settings, source.arrays, options.compact)
    tokenizer = write_tokenizer(scratch, options.vocab, subwords, settings["max_position_embeddings"])
    parity = source.parity(scratch) if options.verify else None
    # `not <`: NaN is refused too.
    if parity is not None and not max(parity.values()) < tolerance:
        config = options.config or "albert_config.json"
        raise Refusal(f"the converted model differs from {source.program}'s: {parity}; is {config} its configuration?")
    write_onnx(scratch, settings, source.arrays, options.compact)
    onnx = onnx_difference(scratch, settings, tokenizer)
    if not onnx < tolerance:
        raise Refusal(f"the logits of model.onnx differ from PyTorch's by {onnx:.1e}; please report it, with the model")
    filled_masks = fill_masks(scratch, tokenizer)
    card = model_card(
        ModelFacts(
            settings, subwords, parameters, inputs["checkpoint"][0], source.program, source.step, source.metrics,
            parity, onnx, filled_masks, inputs.get("provenance", {}), options.license, options.compact,
        )
    )  # fmt: skip
    with whole_file(os.path.join(scratch, "README.md"), "w") as stream:
        stream.write(card)
    files = {name: describe(os.path.join(scratch, name)) for name in sorted(os.listdir(scratch))}
    publish(scratch, options.out)
    packages = ("torch", "transformers", "safetensors", "tinysegmenter3", "onnx", "onnxruntime")
    write_manifest(
        "convert",
        options.out,
        record,
        inputs,
        files,
        parameters=parameters,
        program=source.program,
        step=source.step,
        metrics=source.metrics,
        parity=parity,
        onnx={"opset": OPSET, "ir": IR, "difference": onnx},
        filled_masks=filled_masks,
        versions={name: version(name) for name in packages},
    )
    print(f"convert: wrote {options.out}: {parameters:,} parameters, {subwords}", file=sys.stderr)
    if parity is not None:
        differences = ", ".join(f"{name.replace('_', ' ')} {value:.1e}" for name, value in parity.items())
        print(f"convert: largest difference from {source.program}: {differences}", file=sys.stderr)
    print(f"convert: largest difference of model.onnx from PyTorch: {onnx:.1e}", file=sys.stderr)
    for line in filled_masks:
        print(line["text"], "→", " ".join(f"{word} {probability:.1%}" for word, probability in line["words"]))


if __name__ == "__main__":
    sys.exit(run("convert", main))
