"""Shared by both trainers: the published numbers, the checks of TFRecords against a model, an evaluation in words."""

import hashlib
import os
from dataclasses import dataclass
from typing import Any, Callable, Dict, Iterator, List, Optional, Tuple

from stages.command.folders import Environment, data, model, remote, setting, training
from stages.command.options import option, path
from stages.command.refusal import Refusal
from stages.formats.albert_config import read_config
from stages.formats.shards import Shards, find_shards
from stages.handover import storage
from stages.handover.checks import Checks
from stages.handover.manifests import read_manifest

# Warm-up as a share of the run: the published 25,000 of 1,000,000 steps.
WARMUP_SHARE = 0.025
# The published peak rate, for 1,000,000 steps of 512 examples on a TPU; and one for the few hundred small
# steps that a person runs on this machine, in which the published rate does not move the loss.
PUBLISHED_RATE = 2.2e-4
SHORT_RATE = 5e-3
VOCAB_FLAG = "--vocab-size-from-tfrecords"
METRICS = ("masked_lm_accuracy", "masked_lm_loss", "sentence_order_accuracy", "sentence_order_loss")
PRECISIONS = ("auto", "float32", "bfloat16")
Row = Dict[str, Any]


def known_vocabulary(environment: Environment) -> Optional[str]:
    """The vocabulary of MODEL in WORK_DIR, where that is a bucket, else in DATA, where there is one."""
    if not setting(environment, "MODEL"):
        return None
    within = "vocab/%s/vocab.txt" % model(environment)
    if remote(training(environment)):
        return "%s/%s" % (training(environment), within)
    path = os.path.join(data(environment), within)
    return path if not remote(path) and os.path.exists(path) else None


@dataclass(frozen=True)
class TrainingOptions:
    """The options that both trainers have alike; each names its own ``out``."""

    tfrecords: str = path("{training}/tfrecords/{model}", "folder that tfrecords wrote for one model; read only")
    config: str = path("stages/tpu_train/configs/{model}_{size}.json", "model configuration")
    out: str = path(None, "folder for the results")
    held_out: Optional[int] = option(
        None, "last shards held out for evaluation (default: 1 %, at least one)", unit="K", least=1
    )
    seed: int = option(12345, "seed of the initial weights and of the shuffling", unit="S", least=0, decides=True)
    seq_length: Optional[int] = option(None, "tokens per example (default: what the TFRecords have)", unit="L", least=1)
    max_predictions: Optional[int] = option(
        None, "masked tokens per example (default: as in the TFRecords)", unit="P", least=1
    )
    vocab_size_from_tfrecords: bool = option(
        False,
        "the TFRecords decide the vocabulary size, not --config; so they do where --vocab is of make vocab",
    )
    vocab: Optional[str] = path(known_vocabulary, "vocabulary to compare with that of the TFRecords")
    check: bool = option(False, "only check all that a run needs, and print the findings")

    @property
    def warmup_steps(self: Any) -> int:
        return int(self.steps * WARMUP_SHARE if self.warmup is None else self.warmup)


def takes_size(options: Any, shards: Shards) -> bool:
    """Whether the TFRecords decide the vocabulary size of the model, whatever its configuration says.

    As the flag says; also where ``--vocab`` is what the stage vocab made, by the manifest there, and the TFRecords
    were made with it: from a small corpus it is smaller than the recipe's. One from elsewhere must have the right size.
    """
    vocab = options.vocab
    if options.vocab_size_from_tfrecords or not (vocab and shards.vocabulary and vocab.count("/") > 1):
        return bool(options.vocab_size_from_tfrecords)
    folder, name = vocab.rsplit("/", 2)[0], "/".join(vocab.rsplit("/", 2)[1:])
    try:
        described = read_manifest(folder, "vocab")["files"].get(name, {})
    except Refusal:
        return False
    return bool(described.get("sha256") == shards.vocabulary)


def disagreements(config: Dict[str, Any], shards: Shards, options: Any) -> Iterator[str]:
    """Every reason why ``shards`` cannot train the model of ``config`` as the flags say, of either trainer."""
    folder, size, longest = shards.folder, config["vocab_size"], config["max_position_embeddings"]
    for flag, asked, found in (
        ("--seq-length", options.seq_length, shards.seq_length),
        ("--max-predictions", options.max_predictions, shards.max_predictions),
    ):
        if asked not in (None, found):
            remedy = "leave the flag out or make the TFRecords again"
            yield f"{folder} was made with {flag} {found}, not {asked}; {remedy}"
    if options.on_tpu and shards.held_out_examples < options.eval_batch:
        yield (
            f"the held-out files of {folder} have {shards.held_out_examples} examples, a TPU evaluates whole batches "
            f"of --eval-batch {options.eval_batch}; hold out more with --held-out"
        )
    if shards.unmasked and not getattr(options, "masks_anew", False):
        yield (
            f"{folder} was made with --unmasked, so that nothing is to be predicted; train masks it with "
            "--dynamic-masking, or make the TFRecords without"
        )
    if shards.seq_length > longest:
        yield (
            f"{folder} holds sequences of {shards.seq_length} tokens, {options.config} has max_position_embeddings "
            f"{longest}; make the TFRecords with --seq-length {longest}"
        )
    if takes_size(options, shards):
        if shards.vocab_size is None:
            yield f"{folder} has no manifest that gives a vocabulary size; leave out {VOCAB_FLAG}"
    elif shards.vocab_size not in (None, size):
        yield (
            f"{folder} was made with a vocabulary of {shards.vocab_size}, {options.config} has vocab_size {size}; name "
            f"the configuration of that vocabulary, or add {VOCAB_FLAG} to train a model of {shards.vocab_size}"
        )
    elif shards.largest_id is not None and shards.largest_id >= size:
        yield (
            f"{folder} holds token id {shards.largest_id}; {options.config} has vocab_size {size}: name the "
            "configuration of the vocabulary it was made with"
        )


def trained_config(config: Dict[str, Any], shards: Shards, options: Any) -> Dict[str, Any]:
    """The configuration of the model that ``shards`` will train, where the two do not disagree."""
    return dict(config, vocab_size=shards.vocab_size) if takes_size(options, shards) else config


def check_inputs(checks: Checks, options: Any, find: Callable[..., Shards] = find_shards) -> Tuple[Any, Any]:
    """The checks of configuration, TFRecords and vocabulary, of either trainer.

    Return the configuration of the trained model and the shards; None for what was refused. ``find``: what reads the
    TFRecords.
    """
    config = checks.of(read_config, options.config)
    shards = checks.of(find, options.tfrecords, options.held_out)
    if config and shards:
        refusals = [Refusal(problem) for problem in disagreements(config, shards, options)]
        checks.refusals += refusals
        config = None if refusals else trained_config(config, shards, options)
    if shards:
        checks.found.append(("tfrecords", shards.summary()))
    if config:
        shape = f"{config['num_hidden_layers']} layers of {config['hidden_size']}, vocabulary of {config['vocab_size']}"
        checks.found.append(("config", f"{options.config}: {shape}"))
    if options.vocab:
        checks.report("vocab", check_vocabulary, options.vocab, shards, config)
    return config, shards


def check_vocabulary(path: str, shards: Optional[Shards], config: Optional[Dict[str, Any]]) -> str:
    """That ``path`` is the vocabulary of the TFRecords: by its SHA-256, or by its size where they have no manifest."""
    try:
        with storage.reading(path) as stream:
            content = stream.read()
    except OSError as error:
        raise Refusal(
            f"there is no vocabulary {path} ({error.strerror}); convert will need it: copy the one that the TFRecords "
            "were made with there (make upload takes it along), or name it with --vocab"
        )
    digest, entries = hashlib.sha256(content).hexdigest(), content.count(b"\n") + (not content.endswith(b"\n"))
    if shards and shards.vocabulary and shards.vocabulary != digest:
        raise Refusal(
            f"{path} is not the vocabulary that {shards.folder} was made with (SHA-256 {digest[:12]}…, not "
            f"{str(shards.vocabulary)[:12]}…); name that one with --vocab, or make the TFRecords again"
        )
    if config and entries != config["vocab_size"]:
        raise Refusal(
            f"{path} has {entries} entries, the configuration vocab_size {config['vocab_size']}; name the vocabulary "
            "of the TFRecords with --vocab"
        )
    return f"{path}: {entries:,} entries, SHA-256 {digest[:12]}…"


def file_identity(path: Optional[str]) -> Optional[str]:
    """The SHA-256 of a file, as a manifest records it: its content, not its path on one machine. None for no file.

    ``Refusal`` if it cannot be read.
    """
    if not path:
        return None
    try:
        return storage.sha256(path)
    except OSError as error:
        raise Refusal(f"cannot read {path}: {error.strerror}")


def best_evaluation(rows: List[Row]) -> Optional[Row]:
    """The evaluation with the highest masked LM accuracy; ties go to the lower loss, then to the earlier step.

    Step 0, the untrained model, is never the best.
    """
    trained = [row for row in rows if row["step"] > 0]
    return min(trained, key=lambda row: (-row["masked_lm_accuracy"], row["masked_lm_loss"], row["step"]), default=None)


def sentence(row: Row) -> str:
    """An evaluation in words, for a person."""
    return "masked LM accuracy %.4f, loss %.4f; sentence order accuracy %.4f, loss %.4f on held-out examples" % tuple(
        row[name] for name in METRICS
    )
