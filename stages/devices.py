"""What PyTorch computes on, and in which precision."""

from __future__ import annotations

import ctypes
import functools
import timeit

import torch

from stages.command.refusal import Refusal

# How much faster a product in bfloat16 must be.
_PAYS = 1.2
# mallopt's parameters in glibc's malloc.h: no allocation has a mapping of its own, freed memory stays, growth in bytes.
_MMAP_MAX, _TRIM_THRESHOLD, _TOP_PAD = (-4, 0), (-1, -1), (-2, 1 << 28)


def keep_freed_memory() -> None:
    """Let the C library keep freed memory for the next step, where it can: glibc returns large blocks to the system.

    The system clears each page that it gives again. 100 steps of 16 examples of 512 took 67 s so, and take 52.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt:
        for parameter, value in (_MMAP_MAX, _TRIM_THRESHOLD, _TOP_PAD):
            mallopt(parameter, value)


def choose_device(device: str) -> str:
    """`--device` → cpu or cuda; `auto` is a GPU where PyTorch finds one. Refusal for `cuda` where it finds none."""
    available = torch.cuda.is_available()
    if device == "cuda" and not available:
        reason = "sees no GPU" if torch.version.cuda else "is a build for processors (TORCH=cuda installs the other)"
        raise Refusal(
            f"there is no CUDA device: PyTorch {torch.__version__} {reason}; DEVICE=cpu (--device cpu) takes this "
            "machine's processors"
        )
    return "cuda" if available and device != "cpu" else "cpu"


def in_bfloat16(kind: str, precision: str) -> bool:
    """Whether `--precision` means bfloat16 on a kind of device. Refusal where it cannot be.

    `auto` tries matrix products of a training step on processors: an instruction set does not say what is faster. An
    EPYC of Zen 4 reached 200 GFLOPS a core in bfloat16, more than twice as many as in float32; a Xeon with AVX-512 and
    without AMX 82, where float32 reached 150. Both are far from the bound.
    """
    possible = computes_bfloat16(kind)
    if precision == "bfloat16" and not possible:
        raise Refusal("this processor does not compute in bfloat16; leave --precision out")
    if not possible or precision != "auto" or kind != "cpu":
        return possible and precision != "float32"
    seconds = {}
    for dtype in (torch.bfloat16, torch.float32):
        rows, weights = torch.ones(512, 768, dtype=dtype), torch.ones(768, 768, dtype=dtype)
        seconds[dtype] = min(timeit.repeat(functools.partial(torch.mm, rows, weights), number=1, repeat=6))
    return seconds[torch.bfloat16] * _PAYS < seconds[torch.float32]


def computes_bfloat16(kind: str) -> bool:
    """Whether a kind of device computes in bfloat16 itself, and not by way of float32."""
    if kind == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())
