"""Gradients → one step of Muon for the matrices of the shared layers, of AdamW for everything else.

Muon (Jordan 2024, https://kellerjordan.github.io/posts/muon/) gives a matrix an orthogonal update. It keeps the
structure of the neighbour start. AdamW at the same loss destroys it unless its first steps are small.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from stages.command.refusal import Refusal
from stages.train.frozen import Frozen
from stages.train.lamb import NO_DECAY, Tensors

MOMENTUM = 0.95
BETAS, DECAY = (0.9, 0.99), 0.01
# The polynomial a x + b x³ + c x⁵ of the singular values, and how often it is applied.
POLYNOMIAL, ITERATIONS = (3.4445, -4.7750, 2.0315), 5


def orthogonal(matrix: Tensor) -> Tensor:
    """A matrix with the same singular vectors and singular values near 1: Newton-Schulz iterations (Jordan 2024).

    A singular value of 0.01 to 1 times the matrix's norm becomes 0.68 to 1.14. Smaller ones grow up to 485 times.
    The products have the precision of the surrounding autocast. torch.optim.Muon always computes them in bfloat16,
    which some processors emulate: on two cores of Zen 3 a step of `tiny` takes 2.3 s so, and 0.07 s in float32.
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
    """The optimizer of named parameters. `muon` is Muon's rate as a multiple of AdamW's; `frozen` stays as it is."""

    def __init__(
        self, parameters: Iterable[tuple[str, nn.Parameter]], muon: float, frozen: Frozen | None = None
    ) -> None:
        self.named = dict(parameters)
        self._momenta = {
            name: torch.zeros_like(parameter)
            for name, parameter in self.named.items()
            if ".albert_layers." in name and parameter.ndim == 2
        }
        rest = [(name, parameter) for name, parameter in self.named.items() if name not in self._momenta]
        decayed = [parameter for name, parameter in rest if not NO_DECAY.search(name)]
        others = [parameter for name, parameter in rest if NO_DECAY.search(name)]
        groups = [{"params": decayed, "weight_decay": DECAY}, {"params": others, "weight_decay": 0.0}]
        self._adam = torch.optim.AdamW(groups, lr=1.0, betas=BETAS, fused=True)
        self._ratio = muon
        self._frozen = frozen

    def step(self, rate: float) -> None:
        """Move every parameter by its gradient: AdamW at `rate`, Muon at its multiple of it."""
        if any(parameter.grad is None for parameter in self.named.values()):
            raise ValueError("a parameter has no gradient")
        if self._frozen:
            self._frozen.before_step()
        self._step_matrices(rate * self._ratio)
        for group in self._adam.param_groups:
            group["lr"] = rate
        self._adam.step()
        if self._frozen:
            self._frozen.after_step()

    @torch.no_grad()  # type: ignore[untyped-decorator]
    def _step_matrices(self, rate: float) -> None:
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
        """Moments and steps, by `kind.name of the parameter`."""
        return {
            **{f"momentum_buffer.{name}": momentum for name, momentum in self._momenta.items()},
            **{
                f"{kind}.{name}": tensor
                for name, parameter in self.named.items()
                for kind, tensor in self._adam.state.get(parameter, {}).items()
            },
        }

    def load(self, state: Tensors) -> None:
        """Load all moments. Refusal for those of other parameters."""
        for name, parameter in self.named.items():
            kinds = ("momentum_buffer",) if name in self._momenta else ("step", "exp_avg", "exp_avg_sq")
            moments = {kind: state[f"{kind}.{name}"] for kind in kinds if f"{kind}.{name}" in state}
            if len(moments) < len(kinds) or any(t.shape != parameter.shape for k, t in moments.items() if k != "step"):
                raise Refusal("these are not the moments of the configuration's model; remove this checkpoint")
            if name in self._momenta:
                self._momenta[name].copy_(moments["momentum_buffer"])
            else:
                self._adam.state[parameter] = {k: t.to(parameter.device, copy=True) for k, t in moments.items()}
