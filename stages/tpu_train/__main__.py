"""TFRecords + a model configuration → TensorFlow checkpoints, the best of them, its evaluation.

Trains Google's ALBERT with TensorFlow 1.15 and LAMB, on a Cloud TPU or on this machine. Every checkpoint
is evaluated on shards that are not trained on; the best becomes OUT/model.ckpt-best. The same command
goes on from the last checkpoint. Folders may be local or gs://.
"""

import argparse
import sys
from dataclasses import MISSING, fields
from typing import Callable, List

from stages.handover import HelpFormatter, Refusal, run
from stages.tpu_train import files
from stages.tpu_train.options import PUBLISHED_RATE, SHORT_RATE, Options
from stages.tpu_train.results import sentence
from stages.tpu_train.shape import VOCAB_FLAG, check_config, trained_config
from stages.tpu_train.shards import find_shards


def number(kind: Callable[[str], float], least: float) -> Callable[[str], float]:
    """A flag's type: a finite number of ``kind`` that is ``least`` or more."""

    def parse(text: str) -> float:
        try:
            value = kind(text)
        except ValueError:
            value = float("nan")
        if not least <= value < float("inf"):
            word = "whole number" if kind is int else "number"
            raise argparse.ArgumentTypeError("%s is no %s of %s or more" % (text, word, least))
        return value

    return parse


def options_of(arguments: List[str]) -> Options:
    """The command line as ``Options``."""
    count, whole = number(int, 1), number(int, 0)
    parser = argparse.ArgumentParser("tpu-train", description=__doc__, formatter_class=HelpFormatter)
    add = parser.add_argument
    add("--tfrecords", required=True, metavar="T", help="folder that tfrecords wrote for one model; read only")
    add("--config", required=True, metavar="F", help="model configuration, one of stages/tpu_train/configs/*.json")
    add("--out", required=True, metavar="O", help="folder for checkpoints, evaluation and event files")
    add("--batch", type=count, metavar="N", help="training batch, in examples")
    add("--steps", type=count, metavar="N", help="length of the run, in steps; the rate falls to 0 by then")
    add("--warmup", type=whole, metavar="N", help="steps in which the rate rises (default: 2.5 %% of the steps)")
    rates = "peak rate of LAMB (default: %g, with --device cpu %g)" % (PUBLISHED_RATE, SHORT_RATE)
    add("--learning-rate", type=number(float, 1e-12), metavar="R", help=rates)
    add("--eval-batch", type=count, metavar="N", help="evaluation batch, in examples")
    add("--save-every", type=count, metavar="N", help="steps from one checkpoint and evaluation to the next")
    add("--eval-steps", type=count, metavar="N", help="batches per evaluation at most")
    add("--held-out", type=count, metavar="K", help="last shards held out for evaluation (default: 1 %%, at least one)")
    add("--seed", type=whole, metavar="S", help="seed of the initial weights and of the shuffling")
    add("--seq-length", type=count, metavar="L", help="tokens per example (default: what the TFRecords have)")
    add("--max-predictions", type=count, metavar="P", help="masked tokens per example (default: as in the TFRecords)")
    add(VOCAB_FLAG, action="store_true", help="train a model of the TFRecords' vocabulary size, whatever F says")
    add("--init-checkpoint", metavar="C", help="TensorFlow ALBERT checkpoint to start from (default: random weights)")
    add("--device", choices=("tpu", "cpu"), help="where to train: a Cloud TPU, or this machine")
    add("--tpu-name", metavar="NAME", help="name or grpc:// address of the Cloud TPU")
    add("--tpu-zone", metavar="ZONE", help="its zone (default: this machine's)")
    add("--gcp-project", metavar="PROJECT", help="its project (default: this machine's)")
    add("--num-tpu-cores", type=count, metavar="N", help="its cores")
    add("--iterations-per-loop", type=count, metavar="N", help="steps the TPU takes between two reports")
    parser.set_defaults(**{field.name: field.default for field in fields(Options) if field.default is not MISSING})
    return Options(**vars(parser.parse_args(arguments)))


def check_options(options: Options) -> None:
    """``Refusal`` for options that no input can make right."""
    if options.warmup_steps > options.steps:
        raise Refusal(
            "--warmup %d is longer than the run of --steps %d; the rate would never be reached"
            % (options.warmup_steps, options.steps)
        )
    if not options.on_tpu:
        return
    if not options.tpu_name:
        raise Refusal(
            "training on a Cloud TPU with TensorFlow 1.15.5 needs its name (TPU_NAME=…, --tpu-name) and folders at "
            "gs:// (WORK_DIR=gs://…); without a TPU, DEVICE=cpu (--device cpu) trains on this machine"
        )
    for flag, path in (("--tfrecords", options.tfrecords), ("--out", options.out)):
        if not files.remote(path):
            raise Refusal("a Cloud TPU reads and writes gs:// only; %s is %s (WORK_DIR=gs://…)" % (flag, path))
    for flag, batch in (("--batch", options.batch), ("--eval-batch", options.eval_batch)):
        if batch % options.num_tpu_cores:
            raise Refusal("%s %d is not a multiple of the %d TPU cores" % (flag, batch, options.num_tpu_cores))


def main(arguments: List[str]) -> None:
    options = options_of(arguments)
    check_options(options)
    if files.remote(options.tfrecords):
        # TensorFlow tries an address for minutes, without a word, before it gives up.
        print("tpu-train: reading %s" % options.tfrecords, file=sys.stderr)
    config = check_config(files.read_json(options.config), options.config)
    shards = find_shards(options.tfrecords, options.held_out)
    config = trained_config(config, shards, options)

    if options.init_checkpoint:
        from stages.tpu_train.checkpoints import check_checkpoint

        check_checkpoint(options.init_checkpoint, config)
    decisive, inputs = options.decisive(), {"config": config, "tfrecords": shards.identity}
    if not files.claim(options.out, decisive, inputs):
        # Imported late: TensorFlow takes seconds to load, and nothing above needs it for local folders.
        from stages.tpu_train.training import output_files, train, versions

        best = train(options, shards, config)
        files.write_manifest(
            options.out,
            decisive,
            inputs,
            best=best,
            versions=versions(),
            counts={"train_files": len(shards.train), "held_out_examples": shards.held_out_examples},
            files={name: files.describe(files.join(options.out, name)) for name in output_files(options.out)},
        )
    best = files.read_manifest(options.out, files.STAGE)["best"]
    print("%s: step %d, %s" % (files.join(options.out, "model.ckpt-best"), best["step"], sentence(best)))


if __name__ == "__main__":
    sys.exit(run("tpu-train", main))
