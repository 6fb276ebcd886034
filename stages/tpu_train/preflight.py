"""Options, TFRecords, configuration, vocabulary, OUT, the TPU → the setup of a run, or every reason against it.

The checks are fast: TFRecords are compared with their manifest and not read. TensorFlow is loaded only for versions, a
TPU, a checkpoint, or TFRecords without a manifest.
"""

import os
import platform
from typing import Any, Dict, Iterator, List, Tuple

from stages.command.refusal import Refusal
from stages.formats.pretraining import check_inputs
from stages.formats.shards import Shards, find_shards, has_manifest
from stages.handover import storage
from stages.handover.checks import Checks, check_writable
from stages.tpu_train import files, foreign
from stages.tpu_train.options import Options


def preflight(options: Options) -> Tuple[Dict[str, Any], Shards, List[Tuple[str, str]]]:
    """Run every check before the run reads much or writes anything. ``Refusal`` with a line for each failed check.

    Return the configuration, the shards, and the findings: name and sentence of each check.
    """
    checks = Checks("tpu-train")
    checks.refusals += map(Refusal, contradictions(options))
    find = find_shards if has_manifest(options.tfrecords) else foreign.read_shards
    config, shards = check_inputs(checks, options, find)
    if options.init_checkpoint and config:
        checks.report("init", _check_checkpoint, options.init_checkpoint, config)
    checks.report("storage", files.mode_sentence, options)
    checks.report("out", check_writable, options.out)
    if options.on_tpu and options.tpu_name:
        checks.report("tpu", _find_tpu, options)
    if options.check:
        checks.report("versions", _versions)
    checks.end()
    return config, shards, checks.found


def contradictions(options: Options) -> Iterator[str]:
    """The problems of the options alone."""
    mode = files.mode(options)
    if options.warmup_steps > options.steps:
        yield (
            f"--warmup {options.warmup_steps} is longer than the run of --steps {options.steps}; the rate would never "
            "reach its peak"
        )
    if mode == files.NATIVE and os.environ.get(files.EMULATOR):
        yield f"TensorFlow 1.15 reaches Google alone, not {files.EMULATOR}; leave --storage native out"
    if not options.on_tpu:
        return
    if mode == files.STAGED:
        yield "a Cloud TPU reads and writes gs:// itself; --storage staged is for training on this machine (DEVICE=cpu)"
    if not options.tpu_name:
        yield (
            "training on a Cloud TPU with TensorFlow 1.15.5 needs its name (TPU_NAME=…, --tpu-name) and folders at "
            "gs:// (WORK_DIR=gs://…); without a TPU, DEVICE=cpu (--device cpu) trains on this machine"
        )
        return
    folders = {"--tfrecords": options.tfrecords, "--out": options.out}
    local = [f"{flag} is {path}" for flag, path in folders.items() if not storage.remote(path)]
    if local:
        yield f"a Cloud TPU reads and writes gs:// only; {' and '.join(local)} (WORK_DIR=gs://…)"
    for flag, batch in (("--batch", options.batch), ("--eval-batch", options.eval_batch)):
        if batch % options.num_tpu_cores:
            yield f"{flag} {batch} is not a multiple of the {options.num_tpu_cores} TPU cores"


def _check_checkpoint(prefix: str, config: Dict[str, Any]) -> str:
    from stages.tpu_train.reference import check_checkpoint

    check_checkpoint(prefix, config)
    return f"{prefix} has every variable of the model"


def _find_tpu(options: Options) -> str:
    from stages.tpu_train.tensorflow_albert import find_tpu

    return f"{options.tpu_name} is at {find_tpu(options).get_master()}"


def _versions() -> str:
    try:
        from stages.tpu_train.tensorflow_albert import tf
    except ImportError as error:
        raise Refusal(f"TensorFlow 1.15.5 and ALBERT are not in this environment ({error}); make venv/tpu-train")
    return f"Python {platform.python_version()}, TensorFlow {tf.__version__}, ALBERT with the patch for gzip"
