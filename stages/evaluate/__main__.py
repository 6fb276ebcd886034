"""A model folder and the TFRecords that training held out → a report on the model: a page, and every number as JSON.

Loss and accuracy of masked LM and sentence order, pseudo-perplexity and calibration, with 95 % intervals, beside
baselines of counts and, with --compare, another model. Also the model's entries for gaps in sentences.
"""

import contextlib
import os
import sys
from importlib.metadata import version

from stages.command.options import decisive, parse
from stages.command.refusal import Retryable, unwritable
from stages.command.running import run
from stages.estimates import rounded
from stages.evaluate.files import held_out_corpus, open_tfrecords
from stages.evaluate.options import Options
from stages.formats.model_folder import opened_model
from stages.handover import storage
from stages.handover.manifests import claim, write_json, write_manifest
from stages.handover.storage import describe, whole_file

EVALUATION, PAGE, PLOT = "evaluation.json", "report.html", "calibration.svg"


def main(arguments: list[str]) -> None:
    """Check everything that needs no large library, then evaluate."""
    options = parse(Options, "evaluate", __doc__, arguments)
    out = options.out
    with contextlib.ExitStack() as stack:
        folders = {"model": stack.enter_context(opened_model(options.model))}
        if options.compare:
            folders["other"] = stack.enter_context(opened_model(options.compare))
        shards, warning = open_tfrecords(options.tfrecords, options.held_out, folders["model"])
        files = held_out_corpus(options.corpus, shards) if options.corpus else []
        inputs = {
            "model": folders["model"].identity,
            "compare": folders["other"].identity if options.compare else None,
            "tfrecords": shards.identity,
            "corpus": {name: description["sha256"] for name, description in files},
        }
        if claim("evaluate", out, decisive(options), inputs):
            print(f"evaluate: {out} is finished already", file=sys.stderr)
            return
        if warning:
            print(f"evaluate: {warning}", file=sys.stderr)
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
            report = rounded({**evaluate(folders, shards, files, options, device), "warning": warning})
            plot = calibration_plot(report["calibration"])
            write_json(storage.join(out, EVALUATION), report)
            for name, text in ((PAGE, page(report, plot)), (PLOT, plot)):
                with whole_file(storage.join(out, name), "w") as stream:
                    stream.write(text)
            outputs = {name: describe(storage.join(out, name)) for name in (EVALUATION, PAGE, PLOT)}
            versions = {name: version(name) for name in ("torch", "transformers", "safetensors", "tinysegmenter3")}
            write_manifest("evaluate", out, decisive(options), inputs, outputs, device=device, versions=versions)
        except torch.OutOfMemoryError:
            raise Retryable("the device has not enough memory; a smaller --batch needs less")
        except OSError as error:
            raise unwritable(out, error)
    print(summary(report))
    print(f"evaluate: wrote {storage.join(out, PAGE)}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(run("evaluate", main))
