"""A TensorFlow ALBERT checkpoint, its configuration and vocabulary → a folder for transformers' from_pretrained."""

import argparse
import os
import sys
import tempfile
from importlib.metadata import version
from typing import Any

from stages.convert.checkpoint import Checkpoint
from stages.convert.files import fetched_inputs, fresh_scratch, open_checkpoint, open_config, open_vocabulary, publish
from stages.convert.mapping import Mismatch, model_config, weights
from stages.handover import HelpFormatter, Refusal, claim, describe, run, sha256, unwritable, whole_file, write_manifest


def parse(arguments: list[str]) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser("convert", description=__doc__, formatter_class=HelpFormatter)
    add = parser.add_argument
    add("--checkpoint", required=True, metavar="PREFIX", help="TensorFlow checkpoint, such as …/model.ckpt-best")
    add("--config", required=True, metavar="FILE", help="its configuration (albert_config.json)")
    add("--vocab", required=True, metavar="FILE", help="its vocabulary (vocab.txt)")
    add("--out", required=True, metavar="DIR", help="the model folder")
    add(
        "--subwords",
        choices=["wordpiece", "character"],
        help="(default: wordpiece where the vocabulary has ## entries)",
    )
    add(
        "--verify",
        action="store_true",
        help="compare the logits with TensorFlow's own; a difference of 1e-4 is an error",
    )
    add(
        "--reference", metavar="FILE", help="TensorFlow's logits (default: PREFIX.reference.npz, which training leaves)"
    )
    return parser.parse_args(arguments)


def main(arguments: list[str]) -> None:
    """Fetch what lies at gs://, then convert."""
    given = parse(arguments)
    inputs = {name: getattr(given, name) for name in ("checkpoint", "config", "vocab", "reference")}
    with fetched_inputs(inputs) as here:
        _main(argparse.Namespace(**{**vars(given), **here}))


def _main(given: argparse.Namespace) -> None:
    """Check all that needs no large library, then convert."""
    config = open_config(given.config)
    checkpoint = open_checkpoint(given.checkpoint)
    try:
        settings = model_config(config)
        vocabulary = open_vocabulary(given.vocab, settings["vocab_size"])
        arrays = weights(checkpoint, settings)
    except Mismatch as error:
        raise Refusal(str(error))
    except ValueError as error:
        raise Refusal(f"{given.checkpoint}: {error}")
    step = int(checkpoint.read("global_step")) if "global_step" in checkpoint.variables else None

    subwords = given.subwords or (
        "wordpiece" if any(e.startswith("##") and len(e) > 2 for e in vocabulary) else "character"
    )
    options = {"subwords": subwords, "verify": given.verify}
    inputs = {
        "checkpoint": [sha256(path) for path in checkpoint.data_files()],
        "config": sha256(given.config),
        "vocabulary": sha256(given.vocab),
    }
    if claim("convert", given.out, options, inputs):
        print(f"convert: {given.out} is finished already", file=sys.stderr)
        return
    try:
        _convert(given, settings, arrays, subwords, checkpoint, step, options, inputs)
    except OSError as error:
        raise unwritable(given.out, error)


def _convert(
    given: argparse.Namespace,
    settings: dict[str, Any],
    arrays: dict[str, Any],
    subwords: str,
    checkpoint: Checkpoint,
    step: int | None,
    options: dict[str, Any],
    inputs: dict[str, Any],
) -> None:
    # Nothing is fetched, and nothing that the libraries say while they work is of use here.
    os.environ.update(HF_HUB_OFFLINE="1", TRANSFORMERS_VERBOSITY="error")
    from transformers.utils import logging

    from stages.convert.filling import fill_masks
    from stages.convert.model import write_model
    from stages.convert.model_card import model_card
    from stages.convert.parity import TOLERANCE, find_reference, largest_differences
    from stages.tokenizer.model_folder import write_tokenizer

    logging.disable_progress_bar()
    scratch = fresh_scratch(given.out)
    parameters = write_model(scratch, settings, arrays)
    tokenizer = write_tokenizer(scratch, given.vocab, subwords, settings["max_position_embeddings"])
    parity = None
    if given.verify:
        with tempfile.TemporaryDirectory() as folder:
            reference = find_reference(checkpoint, given.config, given.reference, folder)
            parity = largest_differences(scratch, checkpoint, reference)
        if max(parity.values()) >= TOLERANCE:
            raise Refusal(
                f"the converted model differs from TensorFlow's: {parity}; is {given.config} its configuration?"
            )
    filled = fill_masks(scratch, tokenizer)
    card = model_card(settings, subwords, parameters, inputs["checkpoint"][0], step, parity, filled)
    with whole_file(os.path.join(scratch, "README.md"), "w") as stream:
        stream.write(card)
    files = {name: describe(os.path.join(scratch, name)) for name in sorted(os.listdir(scratch))}
    publish(scratch, given.out)
    write_manifest(
        "convert",
        given.out,
        options,
        inputs,
        files,
        parameters=parameters,
        step=step,
        parity=parity,
        filled_masks=filled,
        versions={name: version(name) for name in ("torch", "transformers", "safetensors", "tinysegmenter3")},
    )
    print(f"convert: wrote {given.out}: {parameters:,} parameters, {subwords}", file=sys.stderr)
    if parity is not None:
        differences = ", ".join(f"{name.replace('_', ' ')} {value:.1e}" for name, value in parity.items())
        print(f"convert: largest difference from TensorFlow: {differences}", file=sys.stderr)
    for line in filled:
        print(line["text"], "→", " ".join(f"{word} {probability:.1%}" for word, probability in line["words"]))


if __name__ == "__main__":
    sys.exit(run("convert", main))
