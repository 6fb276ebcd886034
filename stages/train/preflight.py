"""Options, TFRecords, configuration, vocabulary, OUT, device → the setup of a run, or every reason against it."""

from __future__ import annotations

import platform
from collections.abc import Iterator
from importlib.metadata import version
from typing import Any, NamedTuple

from stages.command.refusal import Refusal
from stages.formats.batches import DynamicMasking
from stages.formats.pretraining import check_inputs
from stages.formats.shards import Shards
from stages.handover.checks import Checks, check_writable
from stages.handover.manifests import read_manifest
from stages.train.devices import Device, choose_device
from stages.train.options import Options
from stages.words.reading import read_vocabulary


class Setup(NamedTuple):
    """The inputs and the device of a run."""

    config: dict[str, Any]
    shards: Shards
    device: Device
    masking: DynamicMasking | None
    tokens_per_example: float  # without padding
    findings: list[tuple[str, str]]  # name and sentence of each check, for a person


def preflight(options: Options) -> Setup:
    """Run every check before the run reads much or writes anything. Refusal with a line for each failed check."""
    checks = Checks("train")
    checks.refusals += map(Refusal, contradictions(options))
    config, shards = check_inputs(checks, options)
    masking = checks.of(_masking, options, shards) if shards else None
    tokens_per_example = checks.of(_tokens_per_example, options, shards) if shards else None
    checks.report("out", check_writable, options.out)
    device = checks.of(choose_device, options)
    if device:
        packages = ", ".join(f"{name} {version(name)}" for name in ("torch", "transformers", "accelerate"))
        versions = f"Python {platform.python_version()}, {packages}"
        checks.found += [("device", device.description), ("versions", versions)]
    checks.end()
    return Setup(config, shards, device, masking, tokens_per_example or 0.0, checks.found)


def contradictions(options: Options) -> Iterator[str]:
    """The problems of the options alone."""
    if options.recipe == "efficient" and options.dynamic_masking:
        yield "the efficient recipe masks anew by itself; leave out --dynamic-masking (DYNAMIC_MASKING)"
    if options.recipe == "published" and options.warmup_steps > options.steps:
        yield (
            f"--warmup {options.warmup_steps} is longer than the run of --steps {options.steps}; the rate would never "
            "reach its peak"
        )
    if options.processes and options.batch_size % options.processes:
        yield f"--batch {options.batch_size} is not a multiple of --processes {options.processes}"


def _tokens_per_example(options: Options, shards: Shards) -> float:
    """The mean number of tokens without padding; the sequence length if no manifest counts them."""
    if shards.vocab_size is None:
        if options.recipe == "efficient":
            raise Refusal(f"{options.tfrecords} has no manifest of make tfrecords, which --recipe efficient needs")
        return float(shards.seq_length)
    counts = read_manifest(options.tfrecords, "tfrecords")["counts"]
    return float(counts["tokens"] / counts["examples"])


def _masking(options: Options, shards: Shards) -> DynamicMasking | None:
    """The masking of `--dynamic-masking`, with the vocabulary and the options of tfrecords."""
    if not options.dynamic_masking:
        return None
    if not options.vocab:
        raise Refusal("--dynamic-masking replaces tokens by others of the vocabulary; name it with --vocab")
    entries = read_vocabulary(options.vocab)
    records = read_manifest(options.tfrecords, "tfrecords")["options"]
    lengths = records["seq_length"], records["max_predictions"]
    return DynamicMasking(entries, *lengths, records["masked_lm_prob"], records["ngram"], options.seed)
