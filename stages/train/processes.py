"""The processes of a run: one, or several that share each batch and sum their results.

`torchrun` starts several, or `--processes` here. accelerate joins them, over NCCL on GPUs, over gloo otherwise.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from stages.command.stopping import SIGNALS

# PR_SET_PDEATHSIG of linux/prctl.h.
_PARENT_DEATH_SIGNAL = 1


def is_first() -> bool:
    """Whether this process prints and writes for all."""
    return os.environ.get("RANK", "0") == "0"


def is_one_of_several() -> bool:
    return int(os.environ.get("WORLD_SIZE", "1")) > 1


class Group:
    """The joined processes of this run. `rank` counts from 0; the `first` process writes."""

    def __init__(self, kind: str) -> None:
        # Imported late: it takes a second.
        from accelerate import Accelerator

        self._accelerator = Accelerator(cpu=kind == "cpu", mixed_precision="no")
        self.rank, self.size = self._accelerator.process_index, self._accelerator.num_processes
        self.device: torch.device = self._accelerator.device
        self.first = self.rank == 0

    def wrap(self, module: nn.Module) -> nn.Module:
        """The module with gradients that are means over the processes; `module` itself in a single process."""
        return self._accelerator.prepare_model(module) if self.size > 1 else module

    def gradient_exchange(self, module: nn.Module, last: bool) -> Any:
        """A context in which the processes exchange gradients only in the last pass of a batch."""
        return contextlib.nullcontext() if last else self._accelerator.no_sync(module)

    def total(self, numbers: list[float]) -> list[float]:
        """The sums of numbers over all processes."""
        if self.size == 1:
            return numbers
        sums = self._accelerator.reduce(torch.tensor(numbers, dtype=torch.float64, device=self.device), "sum")
        return [float(number) for number in sums.tolist()]

    def largest(self, number: float) -> float:
        """The largest of a number ≥ 0 over all processes."""
        return max(self.total([number * (rank == self.rank) for rank in range(self.size)]))

    def any_signal(self, signum: int | None) -> int | None:
        """The signal that any of the processes received, so that all stop after the same step."""
        return int(self.largest(float(signum or 0))) or None

    def wait(self) -> None:
        """Wait for all processes."""
        self._accelerator.wait_for_everyone()

    def end(self) -> None:
        self._accelerator.end_training()


def run_processes(count: int, arguments: Sequence[str]) -> int:
    """Run this stage in `count` processes of this machine; the exit code of the first one that fails, else 0.

    Signals are forwarded to all. If one fails, the others, which would wait for it, are killed.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {
        "OMP_NUM_THREADS": str(max(1, len(os.sched_getaffinity(0)) // count)),
        # In a container without a network PyTorch warns that the processes have no host names.
        "TORCH_CPP_LOG_LEVEL": "ERROR", **os.environ,
        "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": str(count), "LOCAL_WORLD_SIZE": str(count),
        # gloo would look for this machine's name, which a container without a network does not know.
        "GLOO_SOCKET_IFNAME": "lo",
    }  # fmt: skip
    # The system kills a process when its parent ends, however that happens.
    end_with_parent = functools.partial(ctypes.CDLL(None).prctl, _PARENT_DEATH_SIGNAL, signal.SIGKILL)
    processes: list[subprocess.Popen[bytes]] = []

    def forward(signum: int, frame: Any) -> None:
        for process in processes:
            process.send_signal(signum)

    handlers = {signum: signal.signal(signum, forward) for signum in SIGNALS}
    try:
        for rank in map(str, range(count)):
            command = [sys.executable, "-m", "stages.train", *arguments]
            ranked = {**environment, "RANK": rank, "LOCAL_RANK": rank}
            # In a new session a terminal's Ctrl-C arrives once, through this process.
            process = subprocess.Popen(command, env=ranked, start_new_session=True, preexec_fn=end_with_parent)
            processes.append(process)
        return _wait(processes)
    finally:
        for process in processes:
            if process.poll() is None:
                process.kill()
        for signum, handler in handlers.items():
            signal.signal(signum, handler)


def _wait(processes: list[subprocess.Popen[bytes]]) -> int:
    """Wait for the first process that fails, or for the end of all. Return the exit code."""
    while None in (codes := [process.poll() for process in processes]) and not any(codes):
        with contextlib.suppress(subprocess.TimeoutExpired):
            processes[codes.index(None)].wait(0.2)
    code = next(filter(None, codes), 0)
    # After a signal all processes still save their checkpoint.
    seconds = 60 if code in (128 + signal.SIGTERM, 128 + signal.SIGINT) else 5
    for process in processes:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(seconds)
    return code if code >= 0 else 128 - code
