"""DEVICE, PRECISION and COMPILE → where and how PyTorch computes."""

from __future__ import annotations

import os
import shutil
from typing import NamedTuple

import torch

from stages import devices
from stages.command.refusal import Refusal
from stages.train.options import Options

# Examples in one forward and backward pass. Larger passes are no faster and take more memory.
MICRO_BATCH = {"cpu": 8, "cuda": 64}
# On two cores a step of `character` `tiny` takes 258 ms in one process of two threads, which wait for each other after
# every operation, and 177 in two processes of one thread. A smaller part of a batch than this gains less.
CPU_PROCESSES, LEAST_PART = 2, 8


class Device(NamedTuple):
    """Where a run computes, and how."""

    kind: str  # cpu or cuda
    processes: int  # that share the batches of a run, unless --processes says another number
    bfloat16: bool
    compile: bool

    @property
    def description(self) -> str:
        name = torch.cuda.get_device_name() if self.kind == "cuda" else self.kind
        return ", ".join([name, "bfloat16" if self.bfloat16 else "float32", *["compiled"] * self.compile])

    def micro_batch(self, options: Options) -> int:
        """Examples of one process in one pass."""
        return options.micro_batch or MICRO_BATCH[self.kind]


def choose_device(options: Options) -> Device:
    """The device of `--device`, or the best one here. Refusal if it or the compiler is missing."""
    kind = devices.choose_device(options.device)
    processes = torch.cuda.device_count() if kind == "cuda" else _cpu_processes(options.batch_size)
    bfloat16 = devices.in_bfloat16(kind, options.precision)
    if options.compile == "on" and not _has_compiler(kind):
        raise Refusal("torch.compile finds no compiler here; install gcc and g++, or leave --compile out")
    # Compilation takes a minute, which a GPU regains within some hundred steps.
    compiles = options.compile == "on" or (options.compile == "auto" and kind == "cuda" and _has_compiler(kind))
    return Device(kind, processes, bfloat16, compiles)


def _cpu_processes(batch: int) -> int:
    cores = len(os.sched_getaffinity(0))
    shared = cores >= CPU_PROCESSES and batch >= CPU_PROCESSES * LEAST_PART and batch % CPU_PROCESSES == 0
    return CPU_PROCESSES if shared else 1


def _has_compiler(kind: str) -> bool:
    """Whether torch.compile has its compiler: C for the launchers of a GPU's kernels, C++ for a processor's kernels."""
    names = [os.environ.get("CC", "gcc"), "clang"] if kind == "cuda" else [os.environ.get("CXX", "g++")]
    return any(map(shutil.which, names))
