"""TFRecords + a model configuration → TensorFlow checkpoints, the best of them, its evaluation.

Trains Google's ALBERT with TensorFlow 1.15 and LAMB, on a Cloud TPU or on this machine. Every checkpoint is evaluated
on held-out shards. The best becomes OUT/model.ckpt-best. The same command resumes from the last checkpoint. SIGTERM and
SIGINT save a checkpoint first. Folders may be local or gs://.
"""

import errno
import os
import sys
from typing import Any, Dict, List

from stages.command.options import parse
from stages.command.refusal import Retryable, unwritable
from stages.command.running import run
from stages.command.stopping import Stop, Stopped
from stages.formats.pretraining import sentence as sentence_of
from stages.handover import lock, storage
from stages.handover.manifests import claim, read_manifest, write_manifest
from stages.handover.storage import describe
from stages.tpu_train import files
from stages.tpu_train.options import Options
from stages.tpu_train.preflight import Setup, preflight

STAGE = "tpu-train"


def main(arguments: List[str]) -> None:
    options = parse(Options, STAGE, __doc__, arguments)
    stop = Stop(STAGE)
    with stop.watched():
        mode = files.mode_sentence(options)
        if mode:
            print("tpu-train: %s" % mode, file=sys.stderr)
        setup = preflight(options)
        if options.check:
            for name, sentence in setup.findings:
                print("%-9s  %s" % (name, sentence))
            return
        try:
            best = _run(options, setup, stop)
        except Stopped as stopped:
            print(
                "tpu-train: stopped at step %s, checkpoint saved; the same command resumes" % format(stopped.step, ","),
                file=sys.stderr,
            )
            sys.exit(128 + stopped.signum)
    print("%s: step %d, %s" % (storage.join(options.out, "model.ckpt-best"), best["step"], sentence_of(best)))


def _run(options: Options, setup: Setup, stop: Stop) -> Dict[str, Any]:
    """Train in OUT unless its run is finished. Return the best evaluation."""
    decisive, inputs = options.decisive(), {"config": setup.config, "tfrecords": setup.shards.identity}
    if not claim(STAGE, options.out, decisive, inputs):
        try:
            _train(options, setup, stop, decisive, inputs)
        finally:
            lock.release(options.out)
    best = read_manifest(options.out, STAGE)["best"]
    assert isinstance(best, dict)
    return best


def _train(options: Options, setup: Setup, stop: Stop, decisive: Dict[str, Any], inputs: Dict[str, Any]) -> None:
    # Imported late: TensorFlow takes seconds to load.
    from stages.tpu_train.tensorflow_albert import tf
    from stages.tpu_train.training import output_files, train, versions

    try:
        with files.workspace(options, setup.shards) as workspace:
            out = workspace.options.out
            files.remove_unfinished(out)
            best = train(workspace.options, workspace.shards, setup.config, stop, workspace.publish)
            outputs = {name: describe(storage.join(out, name)) for name in output_files(out)}
            workspace.publish()
    except tf.errors.ResourceExhaustedError as error:
        # TensorFlow raises this for a full disk and for a lack of memory.
        if os.strerror(errno.ENOSPC) in error.message or os.strerror(errno.EDQUOT) in error.message:
            raise unwritable(options.out, OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)))
        raise Retryable(
            "TensorFlow has not enough memory (%s); with more, the same command resumes; a smaller --batch needs less"
            % error.message.splitlines()[0]
        )
    counts = {"train_files": len(setup.shards.train), "held_out_examples": setup.shards.held_out_examples}
    write_manifest(STAGE, options.out, decisive, inputs, outputs, best=best, versions=versions(), counts=counts)


if __name__ == "__main__":
    sys.exit(run(STAGE, main))
