"""Gradients → one step of Muon for the matrices of the shared layers, of AdamW for everything else.

Muon (Jordan 2024, https://kellerjordan.github.io/posts/muon/) gives a matrix an orthogonal update, which leaves the
structure of the neighbour start intact: AdamW at the same loss destroys it unless its first steps are small.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from stages.command.refusal import Refusal
from stages.train.held import Held
from stages.train.lamb import LEFT_OUT

MOMENTUM = 0.95
BETAS, DECAY = (0.9, 0.99), 0.01
# Of the polynomial a x + b x³ + c x⁵ that is applied to every singular value, so often.
POLYNOMIAL, ITERATIONS = (3.4445, -4.7750, 2.0315), 5
Tensors = dict[str, Tensor]


def orthogonal(matrix: Tensor) -> Tensor:
    """The same singular vectors with singular values near 1: Newton-Schulz iterations (Jordan 2024).

    A singular value of 0.01 to 1 times the matrix's norm becomes 0.68 to 1.14; smaller ones grow up to 485 times.
    The products are computed in the precision of the surrounding autocast. torch.optim.Muon computes them always in
    bfloat16, which processors without such instructions emulate: a step of `tiny` takes 2.3 s on an EPYC of Zen 3, two
    cores; float32 takes 0.07 s there.
    """
    a, b, c = POLYNOMIAL
    tall = matrix.shape[0] > matrix.shape[1]
    values = matrix.T if tall else matrix
    values = values / values.norm().clamp(min=1e-7)
    for _ in range(ITERATIONS):
        gram = values @ values.T
        values = torch.addmm(values, torch.addmm(gram, gram, gram, beta=b, alpha=c), values, beta=a)
    return values.T if tall else values


class MuonAdamW:
    """The optimizer of named parameters. `muon` is the rate of Muon where that of AdamW is 1.

    held: what no step moves, if anything.
    """

    def __init__(self, parameters: Iterable[tuple[str, nn.Parameter]], muon: float, held: Held | None = None) -> None:
        self.named = dict(parameters)
        self._momenta = {name: torch.zeros_like(p) for name, p in self.named.items() if _by_muon(name, p)}
        rest = [(name, p) for name, p in self.named.items() if name not in self._momenta]
        decayed = [p for name, p in rest if not LEFT_OUT.search(name)]
        others = [p for name, p in rest if LEFT_OUT.search(name)]
        groups = [{"params": decayed, "weight_decay": DECAY}, {"params": others, "weight_decay": 0.0}]
        self._adam = torch.optim.AdamW(groups, lr=1.0, betas=BETAS, fused=True)
        self._ratio = muon
        self._held = held

    def step(self, rate: float) -> None:
        """Move every parameter by its gradient: AdamW at this rate, Muon at its ratio of it."""
        if any(parameter.grad is None for parameter in self.named.values()):
            raise ValueError("a parameter has no gradient")
        if self._held:
            self._held.before()
        self._move_matrices(rate * self._ratio)
        for group in self._adam.param_groups:
            group["lr"] = rate
        self._adam.step()
        if self._held:
            self._held.after()

    @torch.no_grad()  # type: ignore[untyped-decorator]
    def _move_matrices(self, rate: float) -> None:
        for name, momentum in self._momenta.items():
            parameter = self.named[name]
            assert parameter.grad is not None
            momentum.lerp_(parameter.grad, 1 - MOMENTUM)
            update = orthogonal(parameter.grad.lerp(momentum, MOMENTUM))
            rows, columns = parameter.shape
            parameter.mul_(1 - rate * DECAY).add_(update, alpha=-rate * max(1.0, rows / columns) ** 0.5)

    def zero_grad(self) -> None:
        for parameter in self.named.values():
            parameter.grad = None

    def state(self) -> Tensors:
        """Moments and steps, as `kind.name of the parameter`."""
        return {
            **{f"momentum_buffer.{name}": momentum for name, momentum in self._momenta.items()},
            **{
                f"{kind}.{name}": tensor
                for name, parameter in self.named.items()
                for kind, tensor in self._adam.state.get(parameter, {}).items()
            },
        }

    def load(self, given: Tensors) -> None:
        """Take over moments, all of them. Refusal for those of other parameters."""
        for name, parameter in self.named.items():
            wanted = ("momentum_buffer",) if name in self._momenta else ("step", "exp_avg", "exp_avg_sq")
            found = {kind: given[f"{kind}.{name}"] for kind in wanted if f"{kind}.{name}" in given}
            if len(found) < len(wanted) or any(t.shape != parameter.shape for k, t in found.items() if k != "step"):
                raise Refusal("these are not the moments of the configuration's model; remove this checkpoint")
            if name in self._momenta:
                self._momenta[name].copy_(found["momentum_buffer"])
            else:
                self._adam.state[parameter] = {k: t.to(parameter.device, copy=True) for k, t in found.items()}


def _by_muon(name: str, parameter: nn.Parameter) -> bool:
    return ".albert_layers." in name and parameter.ndim == 2
