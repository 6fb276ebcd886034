"""DEVICE and PRECISION as a person says them → what PyTorch computes on, or one line that says what is missing."""

from __future__ import annotations

import os
import shutil
import time
from typing import NamedTuple

import torch

from stages.handover import Refusal
from stages.train.options import Options

# Examples in one forward and backward pass: more do not pay on these, and take more memory.
MICRO_BATCH = {"cpu": 8, "cuda": 64}
# How much faster a product in bfloat16 must be.
_PAYS = 1.2


class Device(NamedTuple):
    """Where a run computes, and how."""

    kind: str  # cpu or cuda
    devices: int  # of this kind on this machine; processors count as one
    bfloat16: bool
    compiled: bool

    @property
    def words(self) -> str:
        name = torch.cuda.get_device_name() if self.kind == "cuda" else self.kind
        return ", ".join([name, "bfloat16" if self.bfloat16 else "float32", *["compiled"] * self.compiled])

    def micro_batch(self, options: Options) -> int:
        """Examples of one process in one pass."""
        return options.micro_batch or MICRO_BATCH[self.kind]


def choose_device(options: Options) -> Device:
    """The device that `--device` names, or the best one here. Refusal where it is missing."""
    kind = options.device
    if kind == "auto":
        kind = "cuda" if torch.cuda.is_available() else "cpu"
    if kind == "cuda" and not torch.cuda.is_available():
        reason = (
            "sees no GPU" if torch.version.cuda else "is built for processors alone (TORCH=cuda takes the other build)"
        )
        raise Refusal(
            f"there is no CUDA device: PyTorch {torch.__version__} {reason}; DEVICE=cpu (--device cpu) trains on this "
            "machine's processors"
        )
    count = torch.cuda.device_count() if kind == "cuda" else 1
    wanted = in_bfloat16(kind, options.precision)
    if options.compile == "on" and not _has_compiler(kind):
        raise Refusal("torch.compile finds no compiler here; install gcc and g++, or leave --compile out")
    # Compiling takes a minute, which a GPU wins back within some hundred steps.
    compiled = options.compile == "on" or (options.compile == "auto" and kind == "cuda" and _has_compiler(kind))
    return Device(kind, count, wanted, compiled)


def _has_compiler(kind: str) -> bool:
    """Whether there is what torch.compile calls: a C compiler for what starts a GPU's kernels, or g++ for kernels."""
    names = [os.environ.get("CC", "gcc"), "clang"] if kind == "cuda" else [os.environ.get("CXX", "g++")]
    return any(map(shutil.which, names))


def in_bfloat16(kind: str, precision: str) -> bool:
    """Whether `--precision` means bfloat16 on a kind of device. Refusal where it cannot be."""
    can = computes_bfloat16(kind)
    if precision == "bfloat16" and not can:
        raise Refusal("this processor does not compute in bfloat16; leave --precision out")
    return can and (precision == "bfloat16" or (precision == "auto" and bfloat16_pays(kind)))


def computes_bfloat16(kind: str) -> bool:
    """Whether a kind of device computes in bfloat16 itself, and not by way of float32."""
    if kind == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())


def bfloat16_pays(kind: str) -> bool:
    """Whether matrix products of a training step are faster in bfloat16: on processors they are tried.

    An instruction set does not say so. An EPYC of Zen 4 reached 200 GFLOPS a core in bfloat16, more than twice as many
    as in float32; a Xeon with AVX-512 and without AMX 82, where float32 reached 150. Both are far from the bound.
    """
    if kind != "cpu":
        return True
    seconds = {}
    for dtype in (torch.bfloat16, torch.float32):
        rows, weights = torch.ones(512, 768, dtype=dtype), torch.ones(768, 768, dtype=dtype)
        seconds[dtype] = min(_seconds(rows, weights) for _ in range(6))
    return seconds[torch.bfloat16] * _PAYS < seconds[torch.float32]


def _seconds(rows: torch.Tensor, weights: torch.Tensor) -> float:
    start = time.perf_counter()
    torch.mm(rows, weights)
    return time.perf_counter() - start
