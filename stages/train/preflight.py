"""Options, TFRecords, configuration, vocabulary, OUT, device → the setup of a run, or every reason against it."""

from __future__ import annotations

import os
import platform
import shutil
from collections.abc import Iterator
from importlib.metadata import version
from typing import Any, NamedTuple

import torch

from stages import devices
from stages.command.refusal import Refusal
from stages.formats.batches import DynamicMasking
from stages.formats.pretraining import check_inputs
from stages.formats.shards import Shards
from stages.handover.checks import Checks, check_writable
from stages.handover.manifests import read_manifest
from stages.train.options import Options
from stages.words.reading import read_vocabulary

# Examples in one forward and backward pass. Larger passes are no faster and take more memory.
MICRO_BATCH = {"cpu": 8, "cuda": 64}
# On two cores a step of `character` `tiny` takes 258 ms in one process of two threads, which wait for each other after
# every operation, and 177 in two processes of one thread. A smaller part of a batch than this gains less.
CPU_PROCESSES, LEAST_PART = 2, 8


class Device(NamedTuple):
    """Where a run computes, and how."""

    kind: str  # cpu or cuda
    processes: int  # that share the batches of the run
    micro_batch: int  # examples of a process in one pass
    bfloat16: bool
    compile: bool
    description: str


class Setup(NamedTuple):
    """The inputs and the device of a run."""

    config: dict[str, Any]
    shards: Shards
    device: Device
    masking: DynamicMasking | None
    findings: list[tuple[str, str]]  # name and sentence of each check, for a person


def preflight(options: Options) -> Setup:
    """Run every check before the run reads much or writes anything. Refusal with a line for each failed check."""
    checks = Checks("train")
    checks.refusals += map(Refusal, _contradictions(options))
    config, shards = check_inputs(checks, options)
    masking = checks.of(_masking, options) if shards and options.dynamic_masking else None
    checks.report("out", check_writable, options.out)
    if device := checks.of(_device, options):
        packages = ", ".join(f"{name} {version(name)}" for name in ("torch", "transformers", "accelerate"))
        versions = f"Python {platform.python_version()}, {packages}"
        checks.found += [("device", device.description), ("versions", versions)]
    checks.end()
    return Setup(config, shards, device, masking, checks.found)


def _contradictions(options: Options) -> Iterator[str]:
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


def _masking(options: Options) -> DynamicMasking:
    """The masking of `--dynamic-masking`, with the vocabulary and the options of tfrecords."""
    if not options.vocab:
        raise Refusal("--dynamic-masking replaces tokens by others of the vocabulary; name it with --vocab")
    entries = read_vocabulary(options.vocab)
    records = read_manifest(options.tfrecords, "tfrecords")["options"]
    lengths = records["seq_length"], records["max_predictions"]
    return DynamicMasking(entries, *lengths, records["masked_lm_prob"], records["ngram"], options.seed)


def _device(options: Options) -> Device:
    """The device of `--device`, or the best one here. Refusal if it or the compiler is missing."""
    kind, cores, batch = devices.choose_device(options.device), len(os.sched_getaffinity(0)), options.batch_size
    shared = cores >= CPU_PROCESSES and batch >= CPU_PROCESSES * LEAST_PART and batch % CPU_PROCESSES == 0
    processes = torch.cuda.device_count() if kind == "cuda" else CPU_PROCESSES if shared else 1
    bfloat16 = devices.in_bfloat16(kind, options.precision)
    # torch.compile needs C for the launchers of a GPU's kernels, C++ for a processor's kernels.
    compilers = [os.environ.get("CC", "gcc"), "clang"] if kind == "cuda" else [os.environ.get("CXX", "g++")]
    has_compiler = any(map(shutil.which, compilers))
    if options.compile == "on" and not has_compiler:
        raise Refusal("torch.compile finds no compiler here; install gcc and g++, or leave --compile out")
    # Compilation takes a minute, which a GPU regains within some hundred steps.
    compiles = options.compile == "on" or (options.compile == "auto" and kind == "cuda" and has_compiler)
    name = torch.cuda.get_device_name() if kind == "cuda" else kind
    description = ", ".join([name, "bfloat16" if bfloat16 else "float32", *["compiled"] * compiles])
    micro_batch = options.micro_batch or MICRO_BATCH[kind]
    return Device(kind, options.processes or processes, micro_batch, bfloat16, compiles, description)
