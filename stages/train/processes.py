"""The processes of a run: one, or several with a part of each batch, that add up what they find.

Several are of `torchrun`, or of `--processes`, which starts them here; accelerate joins them, over NCCL where they have
GPUs, else over gloo.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from stages.command.stopping import SIGNALS
from stages.train.devices import Device

RANK, SIZE = "RANK", "WORLD_SIZE"
# PR_SET_PDEATHSIG of linux/prctl.h.
_PARENT_DEATH_SIGNAL = 1


def is_first() -> bool:
    """Whether this process speaks and writes for all, before they are joined."""
    return os.environ.get(RANK, "0") == "0"


def joined() -> bool:
    """Whether this is one of several processes."""
    return int(os.environ.get(SIZE, "1")) > 1


class Group:
    """The processes of this run, joined. `rank` counts from 0; `first`: this one writes."""

    def __init__(self, device: Device) -> None:
        # Loaded late: it takes a second.
        from accelerate import Accelerator

        self._accelerator = Accelerator(cpu=device.kind == "cpu", mixed_precision="no")
        self.rank, self.size = self._accelerator.process_index, self._accelerator.num_processes
        self.device: torch.device = self._accelerator.device
        self.first = self.rank == 0

    def wrapped(self, module: nn.Module) -> nn.Module:
        """The module whose gradients are means over the processes; the same module where there is one."""
        return self._accelerator.prepare_model(module) if self.size > 1 else module

    def together(self, module: nn.Module, last: bool) -> Any:
        """The processes exchange gradients behind the last pass of a batch alone."""
        return contextlib.nullcontext() if last or self.size == 1 else self._accelerator.no_sync(module)

    def backward(self, loss: Tensor) -> None:
        """Add the gradients of a part of the whole batch's loss. Means over processes times their number are sums."""
        (loss * self.size).backward()

    def total(self, numbers: list[float]) -> list[float]:
        """The sums of numbers over all processes."""
        if self.size == 1:
            return numbers
        summed = self._accelerator.reduce(torch.tensor(numbers, dtype=torch.float64, device=self.device), "sum")
        return [float(number) for number in summed.tolist()]

    def any_signal(self, signum: int | None) -> int | None:
        """The signal that any of the processes was sent: all stop behind the same step."""
        if self.size == 1:
            return signum
        return int(max(self.total([float((signum or 0) * (rank == self.rank)) for rank in range(self.size)]))) or None

    def wait(self) -> None:
        """Until all are here."""
        if self.size > 1:
            self._accelerator.wait_for_everyone()

    def end(self) -> None:
        if self.size > 1:
            self._accelerator.end_training()


def start(count: int, arguments: Sequence[str]) -> int:
    """Run this stage in `count` processes of this machine; the exit code of the first one that fails, else 0.

    They get the signals that this one gets. When one fails, the others, who would wait for it, are ended.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    threads = str(max(1, len(os.sched_getaffinity(0)) // count))
    place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), SIZE: str(count), "LOCAL_WORLD_SIZE": str(count)}
    running: list[subprocess.Popen[bytes]] = []

    def passed_on(signum: int, frame: Any) -> None:
        for process in running:
            process.send_signal(signum)

    before = {signum: signal.signal(signum, passed_on) for signum in SIGNALS}
    try:
        for rank in range(count):
            environment = {"OMP_NUM_THREADS": threads, **os.environ, **place, RANK: str(rank), "LOCAL_RANK": str(rank)}
            # In a session of its own: a terminal's Ctrl-C comes once, through this process.
            command = [sys.executable, "-m", "stages.train", *arguments]
            running.append(
                subprocess.Popen(command, env=environment, start_new_session=True, preexec_fn=_end_with_parent)
            )
        return _wait(running)
    finally:
        for process in running:
            if process.poll() is None:
                process.kill()
        for signum, handler in before.items():
            signal.signal(signum, handler)


def _end_with_parent() -> None:
    """The system kills this process when the one that started it is gone, however that ends."""
    ctypes.CDLL(None).prctl(_PARENT_DEATH_SIGNAL, signal.SIGKILL)


def _wait(running: list[subprocess.Popen[bytes]]) -> int:
    while True:
        codes = [process.poll() for process in running]
        failed = [code for code in codes if code]
        if failed:
            for process in running:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    # One that was asked to stop saves first, and so do the others.
                    process.wait(5 if failed[0] not in (128 + signal.SIGTERM, 128 + signal.SIGINT) else 60)
            return failed[0] if failed[0] > 0 else 128 - failed[0]
        if all(code == 0 for code in codes):
            return 0
        with contextlib.suppress(subprocess.TimeoutExpired):
            next(process for process in running if process.poll() is None).wait(0.2)
