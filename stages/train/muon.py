"""Gradients → one step of Muon for the matrices of the shared layers, of AdamW for everything else.

Muon (PyTorch's own) gives a matrix an orthogonal update, which leaves the structure of the neighbour start intact:
AdamW at the same loss destroys it unless its first steps are small. ALBERT's layers share six matrices, so that the
Newton-Schulz iterations cost a few hundredths of a step.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from stages.handover import Refusal
from stages.train.held import Held
from stages.train.lamb import LEFT_OUT

MUON_MOMENTUM = 0.95
BETAS, DECAY = (0.9, 0.99), 0.01
Tensors = dict[str, Tensor]


class MuonAdamW:
    """The optimizer of named parameters. `muon` is the rate of Muon where that of AdamW is 1.

    held: what no step moves, if anything.
    """

    def __init__(self, parameters: Iterable[tuple[str, nn.Parameter]], muon: float, held: Held | None = None) -> None:
        self.named = dict(parameters)
        matrices = [p for name, p in self.named.items() if _by_muon(name, p)]
        rest = [(name, p) for name, p in self.named.items() if not _by_muon(name, p)]
        decayed = [p for name, p in rest if not LEFT_OUT.search(name)]
        others = [p for name, p in rest if LEFT_OUT.search(name)]
        groups = [{"params": decayed, "weight_decay": DECAY}, {"params": others, "weight_decay": 0.0}]
        self._muon = torch.optim.Muon(matrices, lr=1.0, weight_decay=DECAY, momentum=MUON_MOMENTUM)
        self._adam = torch.optim.AdamW(groups, lr=1.0, betas=BETAS, fused=True)
        self._ratio = muon
        self._held = held

    def step(self, rate: float) -> None:
        """Move every parameter by its gradient: AdamW at this rate, Muon at its ratio of it."""
        if any(parameter.grad is None for parameter in self.named.values()):
            raise ValueError("a parameter has no gradient")
        if self._held:
            self._held.before()
        for optimizer, factor in ((self._muon, self._ratio), (self._adam, 1.0)):
            for group in optimizer.param_groups:
                group["lr"] = rate * factor
            optimizer.step()
        if self._held:
            self._held.after()

    def zero_grad(self) -> None:
        for parameter in self.named.values():
            parameter.grad = None

    def state(self) -> Tensors:
        """Moments and steps, as `kind.name of the parameter`."""
        return {
            f"{kind}.{name}": tensor
            for name, parameter in self.named.items()
            for kind, tensor in self._of(name).state[parameter].items()
        }

    def load(self, given: Tensors) -> None:
        """Take over moments, all of them. Refusal for those of other parameters."""
        for name, parameter in self.named.items():
            wanted = ("momentum_buffer",) if _by_muon(name, parameter) else ("step", "exp_avg", "exp_avg_sq")
            found = {kind: given.get(f"{kind}.{name}") for kind in wanted}
            if any(t is None or (kind != "step" and t.shape != parameter.shape) for kind, t in found.items()):
                raise Refusal("these are not the moments of the configuration's model; remove this checkpoint")
            self._of(name).state[parameter] = {
                kind: tensor.to(parameter.device, copy=True) for kind, tensor in found.items() if tensor is not None
            }

    def _of(self, name: str) -> torch.optim.Optimizer:
        return self._muon if _by_muon(name, self.named[name]) else self._adam


def _by_muon(name: str, parameter: nn.Parameter) -> bool:
    return ".albert_layers." in name and parameter.ndim == 2
