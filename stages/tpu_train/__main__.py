"""TFRecords + a model configuration → TensorFlow checkpoints, the best of them, its evaluation.

Trains Google's ALBERT with TensorFlow 1.15 and LAMB, on a Cloud TPU or on this machine. Every checkpoint
is evaluated on shards that are not trained on; the best becomes OUT/model.ckpt-best. The same command
resumes from the last checkpoint; SIGTERM and SIGINT save one first. Folders may be local or gs://.
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
from stages.tpu_train.preflight import Start, preflight

STAGE = "tpu-train"


def main(arguments: List[str]) -> None:
    options = parse(Options, STAGE, __doc__, arguments)
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
                "tpu-train: stopped at step %s, checkpoint saved; the same command resumes" % format(stopped.step, ","),
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
            "TensorFlow has not enough memory (%s); with more, the same command resumes; a smaller --batch needs less"
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
