"""TFRecords + a model configuration → PyTorch checkpoints, the best of them, its evaluation, a plot.

Trains transformers' ALBERT on processors or GPUs: by a recipe for small budgets, or by the published one, with LAMB
and ALBERT's own formulas. Every --save-every steps the
model is evaluated on shards that are not trained on, and saved; the best becomes OUT/best, which convert takes. The
same command goes on from the last checkpoint, with the same numbers as if it had never stopped; SIGTERM and SIGINT
save one first. Folders may be local or gs://.
"""

from __future__ import annotations

import argparse
import os
import sys
from dataclasses import MISSING, fields
from typing import Any

from stages import lock, storage
from stages.formats.pretraining import PRECISIONS, PUBLISHED_RATE, SHORT_RATE, VOCAB_FLAG
from stages.formats.pretraining import sentence as sentence_of
from stages.handover import (
    MANIFEST,
    HelpFormatter,
    Refusal,
    Retryable,
    claim,
    describe,
    number,
    read_manifest,
    run,
    write_manifest,
)
from stages.stopping import Stop, Stopped
from stages.train.options import DEVICES, HOURS, PUBLISHED_STEPS, RECIPES, SHORT, Options

STAGE = "train"


def options_of(arguments: list[str]) -> Options:
    """The command line as `Options`."""
    count, whole = number(int, 1), number(int, 0)
    parser = argparse.ArgumentParser("train", description=__doc__, formatter_class=HelpFormatter)
    add = parser.add_argument
    add("--tfrecords", required=True, metavar="T", help="folder that tfrecords wrote for one model; read only")
    add("--config", required=True, metavar="F", help="model configuration, one of stages/tpu_train/configs/*.json")
    add("--out", required=True, metavar="O", help="folder for checkpoints, metrics, plot and event files")
    add("--recipe", choices=RECIPES, help="efficient: for minutes to days; published: as Google's program trains")
    sizes = "training batch over all processes, in examples (default: 512) or windows of 128 tokens (default: 16)"
    add("--batch", type=count, metavar="N", help=sizes)
    most = "examples in one pass; gradients of a batch's passes are added up (default: 8 on a processor, 64 on a GPU)"
    add("--micro-batch", type=count, metavar="N", help=most)
    length = f"length of the run, in steps; the rate falls to 0 by then (default of published: {PUBLISHED_STEPS})"
    add("--steps", type=count, metavar="N", help=length)
    budget = (
        "the same in hours: the steps follow from the speed of the first seconds (default of the efficient recipe: "
        f"{HOURS:g})"
    )
    add("--hours", type=number(float, 1e-3), metavar="H", help=budget)
    add("--warmup", type=whole, metavar="N", help="steps in which the rate rises (default: 2.5 %% of the steps, or 78)")
    rates = (
        f"peak rate, of LAMB (default: {PUBLISHED_RATE:g}, in runs of under {SHORT:,} steps {SHORT_RATE:g}) or, in the "
        "efficient recipe, of AdamW (default: 0.0004)"
    )
    add("--learning-rate", type=number(float, 1e-12), metavar="R", help=rates)
    add("--eval-batch", type=count, metavar="N", help="evaluation batch of the published recipe, in examples")
    saves = "steps from one evaluation and checkpoint to the next (default: 40000, or a 20th of the run)"
    add("--save-every", type=count, metavar="N", help=saves)
    add("--eval-steps", type=count, metavar="N", help="batches per evaluation of the published recipe at most")
    add("--keep", type=count, metavar="K", help="checkpoints that are kept, beside the best model")
    rows = "steps from one row of metrics to the next (default: a hundredth of the run, 100 at most)"
    add("--log-every", type=count, metavar="N", help=rows)
    add("--held-out", type=count, metavar="K", help="last shards held out for evaluation (default: 1 %%, at least one)")
    add("--seed", type=whole, metavar="S", help="seed of the initial weights and of the shuffling")
    add("--seq-length", type=count, metavar="L", help="tokens per example (default: what the TFRecords have)")
    add("--max-predictions", type=count, metavar="P", help="masked tokens per example (default: as in the TFRecords)")
    add(VOCAB_FLAG, action="store_true", help="train a model of the TFRecords' vocabulary size, whatever F says")
    add("--vocab", metavar="V", help="vocabulary to compare with that of the TFRecords (default: not compared)")
    add("--dynamic-masking", action="store_true", help="mask every example anew each epoch; needs --vocab")
    add("--init-checkpoint", metavar="C", help="model.safetensors to start from (default: random weights)")
    add("--device", choices=DEVICES, help="where to train; auto: a GPU where there is one")
    add("--precision", choices=PRECISIONS, help="of the passes; auto: bfloat16 where it is faster")
    add("--compile", choices=("auto", "on", "off"), help="torch.compile; auto: on a GPU")
    add(
        "--processes",
        type=count,
        metavar="N",
        help="processes, each with a part of every batch (default: one a GPU); or start this command by torchrun",
    )
    add("--readers", type=count, metavar="N", help="threads that read TFRecords; without influence on the result")
    add("--check", action="store_true", help="only check all that a run needs, and say what was found")
    defaults = {field.name: field.default for field in fields(Options) if field.default is not MISSING}
    parser.set_defaults(**{**defaults, "steps": None})
    given = parser.parse_args(arguments)
    if given.steps and given.hours:
        parser.error("--steps and --hours both name the length of the run; leave one out")
    if given.recipe == "efficient" and not given.steps:
        given.hours = given.hours or HOURS
    given.steps = given.steps or PUBLISHED_STEPS
    return Options(**vars(given))


def main(arguments: list[str]) -> None:
    options = options_of(arguments)
    # Nothing is fetched by the libraries, and nothing that they say while they load is of use here.
    os.environ.update(HF_HUB_OFFLINE="1", TRANSFORMERS_VERBOSITY="error")
    # PyTorch's threads wait for each other asleep: beside other work, those that wait awake take nine times as long.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    # oneDNN, which computes bfloat16, and PyTorch above it keep what they have prepared for 1,024 shapes each, and
    # without padding no two batches have the same: tiny took 3 GB and rose on; with these 1.2 GB, at the same speed.
    os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "256")
    os.environ.setdefault("LRU_CACHE_CAPACITY", "16")
    stop = Stop(STAGE)
    with stop.watched():
        from stages.train.preflight import preflight
        from stages.train.processes import is_first, joined

        try:
            begin = preflight(options)
        except Refusal:
            if is_first():
                raise
            sys.exit(Refusal.code)
        if options.check:
            for name, sentence in begin.found:
                print(f"{name:9}  {sentence}")
            return
        several = options.processes or begin.device.devices
    if several > 1 and not joined():
        from stages.train.processes import start

        code = start(several, arguments)
        if code:
            sys.exit(code)
        return
    with stop.watched():
        try:
            best = run_of(options, begin, stop)
        except Stopped as stopped:
            if is_first():
                print(
                    f"train: stopped at step {stopped.step:,}, checkpoint saved; the same command goes on from there",
                    file=sys.stderr,
                )
            sys.exit(128 + stopped.signum)
    if is_first():
        print(f"{storage.join(options.out, 'best')}: step {best['step']}, {sentence_of(best)}")


def run_of(options: Options, begin: Any, stop: Stop) -> dict[str, Any]:
    """Train in OUT, or find the run finished there; returns its best evaluation."""
    from stages.train.processes import is_first

    decisive, inputs = options.decisive(), {"config": begin.config, "tfrecords": begin.shards.identity}
    if is_first():
        finished = claim(STAGE, options.out, decisive, inputs)
    else:
        finished = storage.exists(storage.join(options.out, MANIFEST))
    if not finished:
        try:
            _train(options, begin, stop, decisive, inputs)
        finally:
            lock.release(options.out)
    if not is_first():
        return {}
    best = read_manifest(options.out, STAGE)["best"]
    assert isinstance(best, dict)
    return best


def _train(options: Options, begin: Any, stop: Stop, decisive: dict[str, Any], inputs: dict[str, Any]) -> None:
    from importlib.metadata import version

    import torch

    from stages.train.processes import Group
    from stages.train.training import output_files, train

    group = Group(begin.device)
    try:
        best = train(
            options, begin.shards, begin.config, begin.device, group, stop, begin.masking, begin.tokens_an_example
        )
    except RuntimeError as error:
        # A GPU's error has a class of its own, a processor's has not.
        if not isinstance(error, torch.OutOfMemoryError) and "can't allocate memory" not in str(error):
            raise
        raise Retryable(
            f"the device has not enough memory ({str(error).splitlines()[0]}); the same command goes on with a smaller "
            "--micro-batch"
        )
    finally:
        group.end()
    if not group.first:
        return
    write_manifest(
        STAGE,
        options.out,
        decisive,
        inputs,
        {name: describe(storage.join(options.out, name)) for name in output_files(options.out)},
        best=best,
        versions={name: version(name) for name in ("torch", "transformers", "accelerate", "safetensors")},
        counts={"train_files": len(begin.shards.train), "held_out_examples": begin.shards.held_out_examples},
    )


if __name__ == "__main__":
    sys.exit(run(STAGE, main))
