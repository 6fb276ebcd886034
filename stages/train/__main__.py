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
from stages.handover import lock, storage
from stages.handover.manifests import MANIFEST, claim, read_manifest, write_manifest
from stages.handover.storage import describe
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
        count = options.processes or setup.device.processes
    if count > 1 and not is_one_of_several():
        code = run_processes(count, arguments)
        if code:
            sys.exit(code)
        return
    with stop.watched():
        try:
            best = _run(options, setup, stop, is_first())
        except Stopped as stopped:
            if is_first():
                print(
                    f"train: stopped at step {stopped.step:,}, checkpoint saved; the same command resumes",
                    file=sys.stderr,
                )
            sys.exit(128 + stopped.signum)
    if is_first():
        print(f"{storage.join(options.out, 'best')}: step {best['step']}, {sentence_of(best)}")


def _run(options: Options, setup: Any, stop: Stop, first: bool) -> dict[str, Any]:
    """Train in OUT unless its run is finished. Return the best evaluation, in the first process."""
    decisive, inputs = options.decisive(), {"config": setup.config, "tfrecords": setup.shards.identity}
    if first:
        finished = claim(STAGE, options.out, decisive, inputs)
    else:
        finished = storage.exists(storage.join(options.out, MANIFEST))
    if not finished:
        try:
            _train(options, setup, stop, decisive, inputs)
        finally:
            lock.release(options.out)
    if not first:
        return {}
    best = read_manifest(options.out, STAGE)["best"]
    assert isinstance(best, dict)
    return best


def _train(options: Options, setup: Any, stop: Stop, decisive: dict[str, Any], inputs: dict[str, Any]) -> None:
    import torch

    from stages.train.processes import Group
    from stages.train.training import output_files, train

    group = Group(setup.device)
    try:
        best = train(options, setup, group, stop)
    except RuntimeError as error:
        # Only GPUs raise OutOfMemoryError; processors raise a plain RuntimeError.
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
    outputs = {name: describe(storage.join(options.out, name)) for name in output_files(options.out)}
    versions = {name: version(name) for name in ("torch", "transformers", "accelerate", "safetensors")}
    counts = {"train_files": len(setup.shards.train), "held_out_examples": setup.shards.held_out_examples}
    write_manifest(STAGE, options.out, decisive, inputs, outputs, best=best, versions=versions, counts=counts)


if __name__ == "__main__":
    sys.exit(run(STAGE, main))
