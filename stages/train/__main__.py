"""TFRecords + a model configuration → PyTorch checkpoints, the best of them, its evaluation, a plot.

Trains transformers' ALBERT on processors or GPUs: by a recipe for small budgets, or by the published one, with LAMB
and ALBERT's own formulas. Every --save-every steps the
model is evaluated on shards that are not trained on, and saved; the best becomes OUT/best, which convert takes. The
same command resumes from the last checkpoint, with the same numbers as if it had never stopped; SIGTERM and SIGINT
save one first. Folders may be local or gs://.
"""

from __future__ import annotations

import os
import sys
from typing import Any

from stages.command.options import parse
from stages.command.refusal import Refusal, Retryable
from stages.command.running import run
from stages.command.stopping import Stop, Stopped
from stages.formats.pretraining import sentence as sentence_of
from stages.handover import lock, storage
from stages.handover.manifests import MANIFEST, claim, read_manifest, write_manifest
from stages.handover.storage import describe
from stages.train.options import Options

STAGE = "train"


def main(arguments: list[str]) -> None:
    options = parse(Options, STAGE, __doc__, arguments).with_length()
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
                    f"train: stopped at step {stopped.step:,}, checkpoint saved; the same command resumes",
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
            f"the device has not enough memory ({str(error).splitlines()[0]}); the same command resumes with a smaller "
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
