"""A model folder and the TFRecords that training held out → a report on the model: a page, and every number as JSON.

Loss and accuracy of masked LM and sentence order, pseudo-perplexity and calibration, with 95 % intervals, beside
baselines of counts and, with --compare, another model. Also the model's entries for gaps in sentences.
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
    """Check everything that needs no large library, then evaluate."""
    options = parse(Options, "evaluate", __doc__, arguments)
    with contextlib.ExitStack() as stack:
        model = stack.enter_context(opened_model(options.model))
        other = stack.enter_context(opened_model(options.compare)) if options.compare else None
        shards = open_tfrecords(options.tfrecords, options.held_out, model)
        files = held_out_corpus(options.corpus, shards) if options.corpus else []
        decisive_options = decisive(options)
        inputs = {
            "model": model.identity,
            "compare": other.identity if other else None,
            "tfrecords": shards.identity,
            "corpus": {name: description["sha256"] for name, description in files},
        }
        if claim("evaluate", options.out, decisive_options, inputs):
            print(f"evaluate: {options.out} is finished already", file=sys.stderr)
            return
        try:
            _evaluate(options, model, other, shards, decisive_options, inputs)
        except OSError as error:
            raise unwritable(options.out, error)


def _evaluate(
    options: Options,
    model: ModelFolder,
    other: ModelFolder | None,
    shards: Shards,
    decisive_options: dict[str, Any],
    inputs: dict[str, Any],
) -> None:
    # The libraries fetch nothing, and their messages are of no use here.
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
    device = choose_device(options.device)
    try:
        report = rounded(evaluate(model, other, shards, options, device))
    except torch.OutOfMemoryError:
        raise Retryable("the device has not enough memory; a smaller --batch needs less")
    plot = calibration_plot(report["calibration"])
    names = write_report(options.out, report, page(report, plot), plot)
    write_manifest(
        "evaluate",
        options.out,
        decisive_options,
        inputs,
        {name: describe(storage.join(options.out, name)) for name in names},
        device=device,
        versions={name: version(name) for name in ("torch", "transformers", "safetensors", "tinysegmenter3")},
    )
    print(summary(report))
    print(f"evaluate: wrote {storage.join(options.out, PAGE)}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(run("evaluate", main))
