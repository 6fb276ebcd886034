"""TFRecords + a model configuration → TensorFlow checkpoints, the best of them, its evaluation.

Trains Google's ALBERT with TensorFlow 1.15 and LAMB, on a Cloud TPU or on this machine. Every checkpoint is evaluated
on held-out shards. The best becomes OUT/model.ckpt-best. The same command resumes from the last checkpoint. SIGTERM and
SIGINT save a checkpoint first. Folders may be local or gs://.
"""

import errno
import os
import platform
import sys
from typing import Any, Dict, List

from stages.command.options import parse
from stages.command.refusal import Retryable, unwritable
from stages.command.running import run
from stages.command.stopping import Stop, Stopped
from stages.formats.pretraining import sentence as sentence_of
from stages.formats.shards import Shards
from stages.handover import storage
from stages.handover.manifests import claim, read_manifest, write_manifest
from stages.handover.storage import describe
from stages.tpu_train import files
from stages.tpu_train.options import Options
from stages.tpu_train.preflight import preflight

STAGE = "tpu-train"


def main(arguments: List[str]) -> None:
    options = parse(Options, STAGE, __doc__, arguments)
    stop = Stop(STAGE)
    with stop.watched():
        mode = files.mode_sentence(options)
        if mode:
            print(f"tpu-train: {mode}", file=sys.stderr)
        config, shards, findings = preflight(options)
        if options.check:
            for finding in findings:
                print("%-9s  %s" % finding)
            return
        inputs = {"config": config, "tfrecords": shards.identity}
        try:
            if not claim(STAGE, options.out, options.decisive(), inputs):
                _train(options, shards, stop, inputs)
        except Stopped as stopped:
            sentence = f"stopped at step {stopped.step:,}, checkpoint saved; the same command resumes"
            print(f"tpu-train: {sentence}", file=sys.stderr)
            sys.exit(128 + stopped.signum)
        best: Dict[str, Any] = read_manifest(options.out, STAGE)["best"]
    print(f"{storage.join(options.out, files.BEST)}: step {best['step']}, {sentence_of(best)}")


def _train(options: Options, shards: Shards, stop: Stop, inputs: Dict[str, Any]) -> None:
    # Imported late: TensorFlow takes seconds to load.
    from stages.tpu_train.tensorflow_albert import tf
    from stages.tpu_train.training import output_files, train

    try:
        with files.workspace(options, shards) as workspace:
            files.remove_unfinished(workspace.out)
            best = train(options, workspace, inputs["config"], stop)
            outputs = {name: describe(storage.join(workspace.out, name)) for name in output_files(workspace.out)}
            workspace.publish()
    except tf.errors.ResourceExhaustedError as error:
        # TensorFlow raises this for a full disk and for a lack of memory.
        if os.strerror(errno.ENOSPC) in error.message or os.strerror(errno.EDQUOT) in error.message:
            raise unwritable(options.out, OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)))
        raise Retryable(
            f"TensorFlow has not enough memory ({error.message.splitlines()[0]}); with more, the same command resumes; "
            "a smaller --batch needs less"
        )
    counts = {"train_files": len(shards.train), "held_out_examples": shards.held_out_examples}
    versions = {"python": platform.python_version(), "tensorflow": tf.__version__}
    write_manifest(STAGE, options.out, options.decisive(), inputs, outputs, best=best, versions=versions, counts=counts)


if __name__ == "__main__":
    sys.exit(run(STAGE, main))
