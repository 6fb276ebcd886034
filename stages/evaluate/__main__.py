"""A model folder and the TFRecords that training held out → how good the model is: a page, and every number as JSON.

Masked LM and sentence order loss and accuracy, pseudo-perplexity, calibration, each beside baselines of
counts and, if you like, another model; with 95 % intervals, and what the model puts into gaps of sentences.
"""

import contextlib
import os
import sys
from importlib.metadata import version
from typing import Any

from stages.command.options import decisive, parse
from stages.command.refusal import Retryable, unwritable
from stages.command.running import run
from stages.estimates import rounded
from stages.evaluate.files import PAGE, held_out_corpus, open_tfrecords, write_report
from stages.evaluate.options import Options
from stages.formats.model_folder import ModelFolder, opened_model
from stages.formats.shards import Shards
from stages.handover import storage
from stages.handover.manifests import claim, write_manifest
from stages.handover.storage import describe


def main(arguments: list[str]) -> None:
    """Check all that needs no large library, then evaluate."""
    given = parse(Options, "evaluate", __doc__, arguments)
    with contextlib.ExitStack() as stack:
        model = stack.enter_context(opened_model(given.model))
        other = stack.enter_context(opened_model(given.compare)) if given.compare else None
        shards = open_tfrecords(given.tfrecords, given.held_out, model)
        sentences_of = held_out_corpus(given.corpus, shards) if given.corpus else []
        options = decisive(given)
        inputs = {
            "model": model.identity,
            "compare": other.identity if other else None,
            "tfrecords": shards.identity,
            "corpus": {name: described["sha256"] for name, described in sentences_of},
        }
        if claim("evaluate", given.out, options, inputs):
            print(f"evaluate: {given.out} is finished already", file=sys.stderr)
            return
        try:
            _evaluate(given, model, other, shards, options, inputs)
        except OSError as error:
            raise unwritable(given.out, error)


def _evaluate(
    given: Options,
    model: ModelFolder,
    other: ModelFolder | None,
    shards: Shards,
    options: dict[str, Any],
    inputs: dict[str, Any],
) -> None:
    # Nothing is fetched, and nothing that the libraries say while they work is of use here.
    os.environ.update(HF_HUB_OFFLINE="1", TRANSFORMERS_VERBOSITY="error")
    # As in stages.train: beside other work, PyTorch's threads must not wait for each other awake.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    import torch  # 2 s, with transformers 4 s
    from transformers.utils import logging

    from stages.devices import choose_device
    from stages.evaluate.calibration_plot import calibration_plot
    from stages.evaluate.evaluation import evaluate
    from stages.evaluate.page import page
    from stages.evaluate.summary import summary

    logging.disable_progress_bar()
    device = choose_device(given.device)
    try:
        found = rounded(evaluate(model, other, shards, given, device))
    except torch.OutOfMemoryError:
        raise Retryable("the device has not enough memory; a smaller --batch needs less")
    plot = calibration_plot(found["calibration"])
    names = write_report(given.out, found, page(found, plot), plot)
    write_manifest(
        "evaluate",
        given.out,
        options,
        inputs,
        {name: describe(storage.join(given.out, name)) for name in names},
        device=device,
        versions={name: version(name) for name in ("torch", "transformers", "safetensors", "tinysegmenter3")},
    )
    print(summary(found))
    print(f"evaluate: wrote {storage.join(given.out, PAGE)}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(run("evaluate", main))
