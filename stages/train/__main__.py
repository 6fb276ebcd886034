"""TFRecords + a model configuration → PyTorch checkpoints, the best of them, its evaluation, a plot.

Trains transformers' ALBERT on processors or GPUs, by a recipe for small budgets or by the published one with LAMB.
Every --save-every steps the model is evaluated on held-out shards and saved. The best model becomes OUT/best, which
convert reads. The same command resumes from the last checkpoint, with the numbers of an uninterrupted run. SIGTERM and
SIGINT save a checkpoint first. Folders may be local or gs://.
"""

from __future__ import annotations

import os
import sys
from importlib.metadata import version
from typing import Any

from stages.command.options import parse
from stages.command.refusal import Refusal, Retryable
from stages.command.running import run
from stages.command.stopping import Stop, Stopped
from stages.formats.pretraining import sentence as sentence_of
from stages.handover import storage
from stages.handover.manifests import MANIFEST, claim, read_manifest, write_manifest
from stages.train.options import Options

STAGE = "train"


def main(arguments: list[str]) -> None:
    options = parse(Options, STAGE, __doc__, arguments).with_length()
    # The libraries download nothing. Their messages during import are of no use here.
    os.environ.update(HF_HUB_OFFLINE="1", TRANSFORMERS_VERBOSITY="error")
    # Idle PyTorch threads sleep. Beside other work, threads that spin take nine times as long.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    # PyTorch caches 1,024 compiled shapes, and oneDNN as many: with oneDNN's alone, `wordpiece` `tiny` takes 2.7 GB.
    os.environ.setdefault("LRU_CACHE_CAPACITY", "16")
    stop = Stop(STAGE)
    with stop.watched():
        # Imported late: PyTorch takes seconds to load.
        from stages.devices import keep_freed_memory
        from stages.train.preflight import preflight
        from stages.train.processes import is_first, is_one_of_several, run_processes

        keep_freed_memory()
        try:
            setup = preflight(options)
        except Refusal:
            if is_first():
                raise
            sys.exit(Refusal.code)
        if options.check:
            for name, sentence in setup.findings:
                print(f"{name:9}  {sentence}")
            return
    if setup.device.processes > 1 and not is_one_of_several():
        sys.exit(run_processes(setup.device.processes, arguments))
    with stop.watched():
        try:
            _run(options, setup, stop, is_first())
        except Stopped as stopped:
            if is_first():
                done = f"stopped at step {stopped.step:,}, checkpoint saved; the same command resumes"
                print(f"train: {done}", file=sys.stderr)
            sys.exit(128 + stopped.signum)
    if is_first():
        best = read_manifest(options.out, STAGE)["best"]
        print(f"{storage.join(options.out, 'best')}: step {best['step']}, {sentence_of(best)}")


def _run(options: Options, setup: Any, stop: Stop, first: bool) -> None:
    """Train in OUT unless its run is finished. The `first` process writes the manifest."""
    import torch

    from stages.train import checkpoints, metrics
    from stages.train.processes import Group
    from stages.train.training import train

    out, decisive = options.out, options.decisive()
    inputs = {"config": setup.config, "tfrecords": setup.shards.identity}
    if claim(STAGE, out, decisive, inputs) if first else storage.exists(storage.join(out, MANIFEST)):
        return
    group = Group(setup.device.kind)
    try:
        best = train(options, setup, group, stop)
    except RuntimeError as error:
        # Only GPUs raise OutOfMemoryError; processors raise a plain RuntimeError.
        if not isinstance(error, torch.OutOfMemoryError) and "can't allocate memory" not in str(error):
            raise
        reason = str(error).splitlines()[0]
        raise Retryable(
            f"the device has not enough memory ({reason}); the same command resumes with a smaller --micro-batch"
        )
    finally:
        group.end()
    if first:
        kept = (checkpoints.BEST, metrics.FILE, *metrics.PICTURES)
        names = [name for name in storage.files_below(out) if name.startswith("step-") or name.split("/")[0] in kept]
        files = {name: storage.describe(storage.join(out, name)) for name in names}
        versions = {name: version(name) for name in ("torch", "transformers", "accelerate", "safetensors")}
        counts = {"train_files": len(setup.shards.train), "held_out_examples": setup.shards.held_out_examples}
        write_manifest(STAGE, out, decisive, inputs, files, best=best, versions=versions, counts=counts)


if __name__ == "__main__":
    sys.exit(run(STAGE, main))
