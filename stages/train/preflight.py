"""Options, TFRecords, configuration, vocabulary, OUT, device → what a run starts from, or all reasons why it cannot."""

from __future__ import annotations

import platform
from collections.abc import Iterator
from typing import Any, NamedTuple

from stages.command.refusal import Refusal
from stages.formats.albert_config import read_config
from stages.formats.batches import DynamicMasking
from stages.formats.pretraining import check_vocabulary, disagreements, said_of, trained_config
from stages.formats.shards import Shards, find_shards
from stages.handover import storage
from stages.handover.checks import Checks, check_writable
from stages.handover.manifests import read_manifest
from stages.train.devices import Device, choose_device
from stages.train.options import Options
from stages.words import vocabulary_file


class Start(NamedTuple):
    """What training starts from, and what was found on the way, in words, by check."""

    config: dict[str, Any]
    shards: Shards
    device: Device
    masking: DynamicMasking | None
    tokens_an_example: float  # without padding
    found: list[tuple[str, str]]


def preflight(options: Options) -> Start:
    """Make every check before anything is read at length or written; Refusal tells all that failed, a line each."""
    checks = Checks("train")
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
        checks.found.append(("config", f"{options.config}: {shape}"))
    if options.vocab:
        found = checks.of(check_vocabulary, options.vocab, shards, config)
        checks.found += [("vocab", found)] if found else []
    masking = checks.of(_masking, options, shards) if shards else None
    tokens_an_example = checks.of(_tokens_an_example, options, shards) if shards else None
    out = checks.of(check_writable, options.out)
    checks.found += [("out", out)] if out else []
    device = checks.of(choose_device, options)
    if device:
        checks.found += [("device", device.words), ("versions", _versions())]
    checks.end()
    return Start(config, shards, device, masking, tokens_an_example or 0.0, checks.found)


def contradictions(options: Options) -> Iterator[str]:
    """What is wrong with the options whatever the inputs are."""
    if options.recipe == "efficient" and options.dynamic_masking:
        yield "the efficient recipe masks anew by itself; leave out --dynamic-masking (DYNAMIC_MASKING)"
    if options.recipe == "published" and options.warmup_steps > options.steps:
        yield (
            f"--warmup {options.warmup_steps} is longer than the run of --steps {options.steps}; the rate would never "
            "be reached"
        )
    if options.processes and options.batch_size % options.processes:
        yield f"--batch {options.batch_size} is not a multiple of --processes {options.processes}"


def _tokens_an_example(options: Options, shards: Shards) -> float:
    """How many tokens an example has without padding; as many as there is room for where no manifest counts them."""
    if shards.vocab_size is None:
        if options.recipe == "efficient":
            raise Refusal(f"{options.tfrecords} has no manifest of make tfrecords, which --recipe efficient needs")
        return float(shards.seq_length)
    counts = read_manifest(options.tfrecords, "tfrecords")["counts"]
    return float(counts["tokens"] / counts["examples"])


def _masking(options: Options, shards: Shards) -> DynamicMasking | None:
    """How examples are masked anew each epoch, where that is asked for."""
    if not options.dynamic_masking:
        return None
    if not options.vocab:
        raise Refusal("--dynamic-masking replaces tokens by others of the vocabulary; name it with --vocab")
    try:
        with storage.fetched(options.vocab) as local:
            entries = vocabulary_file.read(local)
    except OSError as error:
        raise Refusal(f"cannot read {options.vocab}: {error.strerror}")
    except ValueError as error:
        raise Refusal(str(error))
    made = read_manifest(options.tfrecords, "tfrecords")["options"]
    return DynamicMasking(
        entries, made["seq_length"], made["max_predictions"], made["masked_lm_prob"], made["ngram"], options.seed
    )


def _versions() -> str:
    from importlib.metadata import version

    packages = ", ".join(f"{name} {version(name)}" for name in ("torch", "transformers", "accelerate"))
    return f"Python {platform.python_version()}, {packages}"
