"""TFRecords + a model configuration → TensorFlow checkpoints, the best of them, its evaluation.

Trains Google's ALBERT with TensorFlow 1.15 and LAMB, on a Cloud TPU or on this machine. Every checkpoint
is evaluated on shards that are not trained on; the best becomes OUT/model.ckpt-best. The same command
goes on from the last checkpoint; SIGTERM and SIGINT save one first. Folders may be local or gs://.
"""

import argparse
import errno
import os
import sys
from dataclasses import MISSING, fields
from typing import Any, Dict, List

from stages import lock, storage
from stages.formats.pretraining import PUBLISHED_RATE, SHORT_RATE, VOCAB_FLAG
from stages.formats.pretraining import sentence as sentence_of
from stages.handover import (
    HelpFormatter,
    Retryable,
    claim,
    describe,
    number,
    read_manifest,
    run,
    unwritable,
    write_manifest,
)
from stages.stopping import Stop, Stopped
from stages.tpu_train import files
from stages.tpu_train.options import Options
from stages.tpu_train.preflight import Start, preflight

STAGE = "tpu-train"


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
    add("--vocab", metavar="V", help="vocabulary to compare with that of the TFRecords (default: not compared)")
    add("--init-checkpoint", metavar="C", help="TensorFlow ALBERT checkpoint to start from (default: random weights)")
    add("--device", choices=("tpu", "cpu"), help="where to train: a Cloud TPU, or this machine")
    add("--tpu-name", metavar="NAME", help="name or grpc:// address of the Cloud TPU")
    add("--tpu-zone", metavar="ZONE", help="its zone (default: this machine's)")
    add("--gcp-project", metavar="PROJECT", help="its project (default: this machine's)")
    add("--num-tpu-cores", type=count, metavar="N", help="its cores")
    add(
        "--iterations-per-loop",
        type=count,
        metavar="N",
        help="steps the TPU takes between two reports; a signal waits for their end",
    )
    how = "how TensorFlow gets at gs://: itself, or by copies; auto: by copies where STORAGE_EMULATOR_HOST is set"
    add("--storage", choices=("auto", "native", "staged"), help=how)
    add("--scratch", metavar="DIR", help="folder for those copies, kept for the next run (default: a temporary one)")
    add("--check", action="store_true", help="only check all that a run needs, and say what was found")
    parser.set_defaults(**{field.name: field.default for field in fields(Options) if field.default is not MISSING})
    return Options(**vars(parser.parse_args(arguments)))


def main(arguments: List[str]) -> None:
    options = options_of(arguments)
    stop = Stop(STAGE)
    with stop.watched():
        if files.way(options):
            print("tpu-train: %s" % files.way_in_words(options), file=sys.stderr)
        start = preflight(options)
        if options.check:
            for name, sentence in start.found:
                print("%-9s  %s" % (name, sentence))
            return
        try:
            best = run_of(options, start, stop)
        except Stopped as stopped:
            print(
                "tpu-train: stopped at step %s, checkpoint saved; the same command goes on from there"
                % format(stopped.step, ","),
                file=sys.stderr,
            )
            sys.exit(128 + stopped.signum)
    print("%s: step %d, %s" % (storage.join(options.out, "model.ckpt-best"), best["step"], sentence_of(best)))


def run_of(options: Options, start: Start, stop: Stop) -> Dict[str, Any]:
    """Train in OUT, or find the run finished there; returns its best evaluation."""
    decisive, inputs = options.decisive(), {"config": start.config, "tfrecords": start.shards.identity}
    if not claim(STAGE, options.out, decisive, inputs):
        try:
            _train(options, start, stop, decisive, inputs)
        finally:
            lock.release(options.out)
    best = read_manifest(options.out, STAGE)["best"]
    assert isinstance(best, dict)
    return best


def _train(options: Options, start: Start, stop: Stop, decisive: Dict[str, Any], inputs: Dict[str, Any]) -> None:
    # Imported late: TensorFlow takes seconds to load, and nothing above needs it.
    from stages.tpu_train.tensorflow_albert import tf
    from stages.tpu_train.training import output_files, train, versions

    try:
        with files.workplace(options, start.shards) as place:
            files.remove_unfinished(place.options.out)
            best = train(place.options, place.shards, start.config, stop, place.publish)
            made = {name: describe(storage.join(place.options.out, name)) for name in output_files(place.options.out)}
            place.publish()
    except tf.errors.ResourceExhaustedError as error:
        # TensorFlow's one name for a full disk and for a lack of memory.
        if os.strerror(errno.ENOSPC) in error.message or os.strerror(errno.EDQUOT) in error.message:
            raise unwritable(options.out, OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)))
        raise Retryable(
            "TensorFlow has not enough memory (%s); with more, the same command goes on; a smaller --batch needs less"
            % error.message.splitlines()[0]
        )
    write_manifest(
        STAGE,
        options.out,
        decisive,
        inputs,
        made,
        best=best,
        versions=versions(),
        counts={"train_files": len(start.shards.train), "held_out_examples": start.shards.held_out_examples},
    )


if __name__ == "__main__":
    sys.exit(run("tpu-train", main))
