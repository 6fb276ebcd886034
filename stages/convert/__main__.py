"""A checkpoint of an ALBERT and its vocabulary → a folder for transformers' from_pretrained, and for ONNX runtimes.

The checkpoint is one of TensorFlow, of Google's program or of tpu-train, or a folder of PyTorch's that train wrote.
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
    fetched_inputs,
    fresh_scratch,
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

# Imported late, where they are needed: they take seconds to load.
Parity = Callable[[str], dict[str, float]]


class Source(NamedTuple):
    """A checkpoint that was read and found right. `parity` compares a model folder with its own logits."""

    program: str
    config: dict[str, Any]
    config_file: str
    settings: dict[str, Any]
    arrays: dict[str, NDArray[np.float32]]
    step: int | None
    metrics: dict[str, float]
    digests: list[str]
    parity: Parity


def main(arguments: list[str]) -> None:
    """Fetch what lies at gs://, then convert."""
    given = parse(Options, "convert", __doc__, arguments)
    inputs = {name: getattr(given, name) for name in ("checkpoint", "config", "vocab", "reference")}
    inputs["config"] = given.config or configuration_beside(given.checkpoint)
    with fetched_inputs(inputs) as here:
        copies: dict[str, Any] = here
        _main(dataclasses.replace(given, **copies), given.checkpoint)


def _main(given: Options, checkpoint: str) -> None:
    """Check all that needs no large library, then convert."""
    try:
        source = _source(given)
        vocabulary = open_vocabulary(given.vocab, source.settings["vocab_size"])
    except Mismatch as error:
        raise Refusal(str(error))
    except ValueError as error:
        raise Refusal(f"{given.checkpoint}: {error}")

    subwords = given.subwords or (
        "wordpiece" if any(e.startswith("##") and len(e) > 2 for e in vocabulary) else "character"
    )
    options = {"subwords": subwords, "verify": given.verify}
    if given.compact:
        options["compact"] = True
    if given.license:
        options["license"] = given.license
    inputs: dict[str, Any] = {
        "checkpoint": source.digests,
        "config": sha256(source.config_file),
        "vocabulary": sha256(given.vocab),
    }
    known = provenance(checkpoint, source.config, inputs["vocabulary"], given.tfrecords, given.corpus)
    if known:
        inputs["provenance"] = known
    if claim("convert", given.out, options, inputs):
        print(f"convert: {given.out} is finished already", file=sys.stderr)
        return
    try:
        _convert(given, source, subwords, options, inputs)
    except Mismatch as error:
        raise Refusal(str(error))
    except OSError as error:
        raise unwritable(given.out, error)


def _source(given: Options) -> Source:
    """The checkpoint at --checkpoint. Raises Mismatch, ValueError, Refusal."""
    prefix = open_prefix(given.checkpoint)
    folder = None if os.path.exists(prefix + ".index") else pytorch_checkpoint.find_folder(given.checkpoint)
    if folder is None:
        return _of_tensorflow(given)
    config_file = given.config or os.path.join(folder, pytorch_checkpoint.CONFIG)
    config = open_config(config_file)
    settings = model_config(config)
    arrays = pytorch_checkpoint.read_weights(folder, settings)
    digest = sha256(os.path.join(folder, pytorch_checkpoint.MODEL))
    state = pytorch_checkpoint.read_state(folder, digest)

    def parity(model: str) -> dict[str, float]:
        from stages.convert.parity import differences_from_checkpoint

        return differences_from_checkpoint(model, settings, folder)

    return Source("PyTorch", config, config_file, settings, arrays, state.step, state.metrics, [digest], parity)


def _of_tensorflow(given: Options) -> Source:
    config_file = given.config
    if not config_file:
        raise Refusal(f"a TensorFlow checkpoint needs --config, and {given.checkpoint} is no folder of a PyTorch one")
    config = open_config(config_file)
    checkpoint = open_checkpoint(given.checkpoint)
    settings = model_config(config)
    arrays = weights(checkpoint, settings)
    step = int(checkpoint.read("global_step")) if "global_step" in checkpoint.variables else None
    digests = [sha256(path) for path in checkpoint.data_files()]

    def parity(model: str) -> dict[str, float]:
        from stages.convert.parity import find_reference, largest_differences

        with tempfile.TemporaryDirectory() as folder:
            reference = find_reference(checkpoint, config_file, given.reference, folder)
            return largest_differences(model, checkpoint, reference)

    metrics = tensorflow_metrics(checkpoint.prefix, digests)
    return Source("TensorFlow", config, config_file, settings, arrays, step, metrics, digests, parity)


def _convert(given: Options, source: Source, subwords: str, options: dict[str, Any], inputs: dict[str, Any]) -> None:
    # Nothing is fetched, and nothing that the libraries say while they work is of use here.
    os.environ.update(HF_HUB_OFFLINE="1", TRANSFORMERS_VERBOSITY="error")
    # As in stages.train: beside other work, PyTorch's threads must not wait for each other awake.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    from transformers.utils import logging

    from stages.convert.filling import fill_masks
    from stages.convert.model import write_model
    from stages.convert.model_card import Known, model_card
    from stages.convert.onnx_model import IR, OPSET, check_activation, write_onnx
    from stages.convert.parity import COMPACT_TOLERANCE, TOLERANCE, onnx_difference
    from stages.words.model_folder import write_tokenizer

    logging.disable_progress_bar()
    settings = source.settings
    check_activation(settings["hidden_act"])
    tolerance = COMPACT_TOLERANCE if given.compact else TOLERANCE
    scratch = fresh_scratch(given.out)
    parameters = write_model(scratch, settings, source.arrays, given.compact)
    tokenizer = write_tokenizer(scratch, given.vocab, subwords, settings["max_position_embeddings"])
    parity = source.parity(scratch) if given.verify else None
    if parity is not None and not max(parity.values()) < tolerance:
        whose = given.config or "albert_config.json"
        raise Refusal(f"the converted model differs from {source.program}'s: {parity}; is {whose} its configuration?")
    write_onnx(scratch, settings, source.arrays, given.compact)
    onnx = onnx_difference(scratch, settings, tokenizer)
    if not onnx < tolerance:
        raise Refusal(f"the logits of model.onnx differ from PyTorch's by {onnx:.1e}; please report it, with the model")
    filled = fill_masks(scratch, tokenizer)
    card = model_card(
        Known(
            settings, subwords, parameters, inputs["checkpoint"][0], source.program, source.step, source.metrics,
            parity, onnx, filled, inputs.get("provenance", {}), given.license,
            given.compact,
        )
    )  # fmt: skip
    with whole_file(os.path.join(scratch, "README.md"), "w") as stream:
        stream.write(card)
    files = {name: describe(os.path.join(scratch, name)) for name in sorted(os.listdir(scratch))}
    publish(scratch, given.out)
    packages = ("torch", "transformers", "safetensors", "tinysegmenter3", "onnx", "onnxruntime")
    write_manifest(
        "convert",
        given.out,
        options,
        inputs,
        files,
        parameters=parameters,
        program=source.program,
        step=source.step,
        metrics=source.metrics,
        parity=parity,
        onnx={"opset": OPSET, "ir": IR, "difference": onnx},
        filled_masks=filled,
        versions={name: version(name) for name in packages},
    )
    print(f"convert: wrote {given.out}: {parameters:,} parameters, {subwords}", file=sys.stderr)
    if parity is not None:
        differences = ", ".join(f"{name.replace('_', ' ')} {value:.1e}" for name, value in parity.items())
        print(f"convert: largest difference from {source.program}: {differences}", file=sys.stderr)
    print(f"convert: largest difference of model.onnx from PyTorch: {onnx:.1e}", file=sys.stderr)
    for line in filled:
        print(line["text"], "→", " ".join(f"{word} {probability:.1%}" for word, probability in line["words"]))


if __name__ == "__main__":
    sys.exit(run("convert", main))
