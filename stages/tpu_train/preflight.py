"""Options, TFRecords, configuration, vocabulary, OUT, the TPU → what a run starts from, or every reason why it cannot.

Nothing here is slow: the TFRecords are compared with their manifest, not read; TensorFlow is loaded where it is
asked for versions, a TPU or a checkpoint.
"""

import hashlib
import os
import platform
import secrets
import tempfile
from typing import Any, Callable, Dict, Iterator, List, NamedTuple, Optional, Tuple

from stages import storage
from stages.handover import MANIFEST, PARTIAL, Refusal, Retryable, read_json, unwritable
from stages.tpu_train import files
from stages.tpu_train.options import Options
from stages.tpu_train.shape import check_config, disagreements, trained_config
from stages.tpu_train.shards import Shards, find_shards


class Start(NamedTuple):
    """What training starts from, and what was found on the way, in words, by check."""

    config: Dict[str, Any]
    shards: Shards
    found: List[Tuple[str, str]]


class Checks:
    """Runs the checks of ``stage``, which raise a ``Refusal``, one after the other; keeps what they find or refuse."""

    def __init__(self, stage: str) -> None:
        self.stage = stage
        self.found: List[Tuple[str, str]] = []
        self.refusals: List[Refusal] = []

    def of(self, check: Callable[..., Any], *arguments: Any) -> Any:
        """What ``check`` returns; None where it refuses."""
        try:
            return check(*arguments)
        except Refusal as refusal:
            self.refusals.append(refusal)
            return None

    def end(self) -> None:
        """Raise all refusals as one, a line each."""
        if self.refusals:
            retryable = all(isinstance(refusal, Retryable) for refusal in self.refusals)
            lines = ("\n%s: error: " % self.stage).join(map(str, self.refusals))
            raise (Retryable if retryable else Refusal)(lines)


def preflight(options: Options) -> Start:
    """Make every check before anything is read at length or written; ``Refusal`` tells all that failed, a line each."""
    checks = Checks("tpu-train")
    checks.refusals += map(Refusal, contradictions(options))
    config = checks.of(read_config, options.config)
    shards = checks.of(find_shards, options.tfrecords, options.held_out)
    if config and shards:
        failed = [Refusal(problem) for problem in disagreements(config, shards, options)]
        checks.refusals += failed
        config = None if failed else trained_config(config, shards, options)
    if shards:
        checks.found.append(("tfrecords", said_of(shards)))
    if config:
        shape = "%(num_hidden_layers)d layers of %(hidden_size)d, vocabulary of %(vocab_size)d" % config
        checks.found.append(("config", "%s: %s" % (options.config, shape)))
    for name, check, arguments in (
        ("vocab", check_vocabulary, (options.vocab, shards, config) if options.vocab else None),
        ("init", _checkpoint, (options.init_checkpoint, config) if options.init_checkpoint and config else None),
        ("storage", files.way_in_words, (options,)),
        ("out", check_writable, (options.out,)),
        ("tpu", _tpu, (options,) if options.on_tpu and options.tpu_name else None),
        ("versions", versions_in_words, () if options.check else None),
    ):
        sentence = checks.of(check, *arguments) if arguments is not None else None
        if sentence:
            checks.found.append((name, sentence))
    checks.end()
    return Start(config, shards, checks.found)


def contradictions(options: Options) -> Iterator[str]:
    """What is wrong with the options whatever the inputs are."""
    if options.warmup_steps > options.steps:
        yield (
            "--warmup %d is longer than the run of --steps %d; the rate would never be reached"
            % (options.warmup_steps, options.steps)
        )
    if files.way(options) == files.NATIVE and os.environ.get(files.EMULATOR):
        yield "TensorFlow 1.15 reaches Google alone, not %s; leave --storage native out" % files.EMULATOR
    if not options.on_tpu:
        return
    if files.way(options) == files.STAGED:
        yield "a Cloud TPU reads and writes gs:// itself; --storage staged is for training on this machine (DEVICE=cpu)"
    if not options.tpu_name:
        yield (
            "training on a Cloud TPU with TensorFlow 1.15.5 needs its name (TPU_NAME=…, --tpu-name) and folders at "
            "gs:// (WORK_DIR=gs://…); without a TPU, DEVICE=cpu (--device cpu) trains on this machine"
        )
        return
    local = [
        "%s is %s" % (flag, path)
        for flag, path in (("--tfrecords", options.tfrecords), ("--out", options.out))
        if not storage.remote(path)
    ]
    if local:
        yield "a Cloud TPU reads and writes gs:// only; %s (WORK_DIR=gs://…)" % " and ".join(local)
    for flag, batch in (("--batch", options.batch), ("--eval-batch", options.eval_batch)):
        if batch % options.num_tpu_cores:
            yield "%s %d is not a multiple of the %d TPU cores" % (flag, batch, options.num_tpu_cores)


def read_config(path: str) -> Dict[str, Any]:
    """The configuration in a file, checked."""
    return check_config(read_json(path), path)


def said_of(shards: Shards) -> str:
    """What TFRecords hold, in words."""
    return "%s: %d files to train on, %d held out with %s examples; %d tokens, %d predictions" % (
        shards.folder,
        len(shards.train),
        len(shards.held_out),
        format(shards.held_out_examples, ","),
        shards.seq_length,
        shards.max_predictions,
    )


def check_vocabulary(path: str, shards: Optional[Shards], config: Optional[Dict[str, Any]]) -> str:
    """That ``path`` is the vocabulary of the TFRecords: by its SHA-256, or by its size where they have no manifest."""
    try:
        with storage.fetched(path) as local, open(local, "rb") as stream:
            data = stream.read()
    except OSError as error:
        raise Refusal(
            "there is no vocabulary %s (%s); convert will need it: copy the one that the TFRecords were made with "
            "there (make upload takes it along), or name it with --vocab" % (path, error.strerror)
        )
    digest, entries = hashlib.sha256(data).hexdigest(), data.count(b"\n") + (not data.endswith(b"\n"))
    if shards and shards.vocabulary and shards.vocabulary != digest:
        raise Refusal(
            "%s is not the vocabulary that %s was made with (SHA-256 %.12s…, not %.12s…); "
            "name that one with --vocab, or make the TFRecords again" % (path, shards.folder, digest, shards.vocabulary)
        )
    if config and entries != config["vocab_size"]:
        raise Refusal(
            "%s has %d entries, the configuration vocab_size %d; name the vocabulary of the TFRecords with --vocab"
            % (path, entries, config["vocab_size"])
        )
    return "%s: %s entries, SHA-256 %.12s…" % (path, format(entries, ","), digest)


def _checkpoint(prefix: str, config: Dict[str, Any]) -> str:
    from stages.tpu_train.checkpoints import check_checkpoint

    check_checkpoint(prefix, config)
    return "%s has every variable of the model" % prefix


def check_writable(out: str) -> str:
    """Write and remove a file in OUT, or in the nearest folder above it that is there."""
    if MANIFEST in storage.names(out):
        return "%s holds a finished run" % out
    if storage.remote(out):
        probe = storage.join(out, ".probe.%s%s" % (secrets.token_hex(4), PARTIAL))
        with storage.whole_file(probe) as stream:
            stream.write(b"x")
        storage.remove(probe)
    else:
        folder = os.path.abspath(out)
        while not os.path.exists(folder):
            folder = os.path.dirname(folder)
        try:
            with tempfile.TemporaryFile(dir=folder) as stream:
                stream.write(b"x")
        except OSError as error:
            raise unwritable(out, error)
    return "%s can be written" % out


def _tpu(options: Options) -> str:
    from stages.tpu_train.cloud_tpu import find

    return "%s is at %s" % (options.tpu_name, find(options).get_master())


def versions_in_words() -> str:
    try:
        from stages.tpu_train.tensorflow_albert import tf
    except ImportError as error:
        raise Refusal("TensorFlow 1.15.5 and ALBERT are not in this environment (%s); make venv/tpu-train" % error)
    return "Python %s, TensorFlow %s, ALBERT with the patch for gzip" % (platform.python_version(), tf.__version__)
