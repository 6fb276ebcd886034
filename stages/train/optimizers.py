"""Gradients and a rate → one step of LAMB, or of Muon and AdamW.

LAMB follows ALBERT's lamb_optimizer.py. There is no bias correction. Layer normalisation and biases have neither weight
decay nor a trust ratio.

Muon (Jordan 2024, https://kellerjordan.github.io/posts/muon/) gives a matrix an orthogonal update. It keeps the
structure of the neighbour start. AdamW at the same loss destroys it unless its first steps are small.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

from stages.command.refusal import Refusal

DECAY = 0.01
# exclude_from_weight_decay of optimization.py. LAMB has no trust ratio for these parameters either.
NO_DECAY = re.compile("LayerNorm|layer_norm|bias")
LAMB_BETAS, LAMB_EPSILON = (0.9, 0.999), 1e-6
ADAM_BETAS, MOMENTUM = (0.9, 0.99), 0.95
# The polynomial a x + b x³ + c x⁵ of the singular values, and how often it is applied.
POLYNOMIAL, ITERATIONS = (3.4445, -4.7750, 2.0315), 5


class Optimizer:
    """Named parameters and `state`, their moments by `kind.name`: on the device of each, changed in place by a step."""

    def __init__(self, parameters: Iterable[tuple[str, nn.Parameter]]) -> None:
        self.named = dict(parameters)
        self.state: dict[str, Tensor] = {}

    def gradients(self) -> list[Tensor]:
        gradients = [parameter.grad for parameter in self.named.values() if parameter.grad is not None]
        if len(gradients) < len(self.named):
            raise ValueError("a parameter has no gradient")
        return gradients

    def zero_grad(self) -> None:
        for parameter in self.named.values():
            parameter.grad = None

    def load(self, state: dict[str, Tensor]) -> None:
        """Load all moments. Refusal for those of other parameters."""
        if set(state) != set(self.state) or any(state[name].shape != own.shape for name, own in self.state.items()):
            raise Refusal("these are not the moments of the configuration's model; remove this checkpoint")
        for name, tensor in self.state.items():
            tensor.copy_(state[name])


class Lamb(Optimizer):
    """LAMB. Its state is two float32 moments of each parameter."""

    def __init__(self, parameters: Iterable[tuple[str, nn.Parameter]]) -> None:
        super().__init__(parameters)
        for kind in ("first", "second"):
            for name, parameter in self.named.items():
                self.state[f"{kind}.{name}"] = torch.zeros_like(parameter, dtype=torch.float32)
        moments = list(self.state.values())
        self._first, self._second = moments[: len(self.named)], moments[len(self.named) :]

    @torch.no_grad()  # type: ignore[untyped-decorator]
    def step(self, rate: float) -> None:
        """Move every parameter by its gradient at this rate."""
        gradients, parameters = self.gradients(), list(self.named.values())
        torch._foreach_mul_(self._first, LAMB_BETAS[0])
        torch._foreach_add_(self._first, gradients, alpha=1 - LAMB_BETAS[0])
        torch._foreach_mul_(self._second, LAMB_BETAS[1])
        torch._foreach_addcmul_(self._second, gradients, gradients, value=1 - LAMB_BETAS[1])
        roots = torch._foreach_sqrt(self._second)
        torch._foreach_add_(roots, LAMB_EPSILON)
        updates = list(torch._foreach_div(self._first, roots))
        decayed = [index for index, name in enumerate(self.named) if not NO_DECAY.search(name)]
        weights, moved = [parameters[index] for index in decayed], [updates[index] for index in decayed]
        torch._foreach_add_(moved, weights, alpha=DECAY)
        # The trust ratio is the norm of a parameter over that of its update; 1 if either is 0.
        weight_norms, norms = (torch.stack(torch._foreach_norm(tensors)) for tensors in (weights, moved))
        ratios = torch.where((weight_norms > 0) & (norms > 0), weight_norms / norms, 1.0)
        torch._foreach_mul_(moved, list(ratios.unbind()))
        torch._foreach_add_(parameters, updates, alpha=-rate)


class MuonAdamW(Optimizer):
    """Muon for the matrices of the shared layers, AdamW for everything else.

    `muon` is Muon's rate as a multiple of AdamW's. `frozen` is a context that leaves parts of the parameters unchanged.
    """

    def __init__(
        self, parameters: Iterable[tuple[str, nn.Parameter]], muon: float,
        frozen: Callable[[], Any] = contextlib.nullcontext,
    ) -> None:  # fmt: skip
        super().__init__(parameters)
        self._ratio, self._frozen = muon, frozen
        self._matrices = [name for name, each in self.named.items() if ".albert_layers." in name and each.ndim == 2]
        rest = {name: each for name, each in self.named.items() if name not in self._matrices}
        decayed = [each for name, each in rest.items() if not NO_DECAY.search(name)]
        others = [each for name, each in rest.items() if NO_DECAY.search(name)]
        groups = [{"params": decayed, "weight_decay": DECAY}, {"params": others, "weight_decay": 0.0}]
        self._adam = torch.optim.AdamW(groups, lr=1.0, betas=ADAM_BETAS, fused=True)
        self.state = {f"momentum_buffer.{name}": torch.zeros_like(self.named[name]) for name in self._matrices}
        for name, each in rest.items():
            # AdamW makes these at its first step, which is too late for `load`.
            step = torch.zeros((), device=each.device)
            moments = {"step": step, "exp_avg": torch.zeros_like(each), "exp_avg_sq": torch.zeros_like(each)}
            self._adam.state[each] = moments
            self.state.update({f"{kind}.{name}": tensor for kind, tensor in moments.items()})

    @torch.no_grad()  # type: ignore[untyped-decorator]
    def step(self, rate: float) -> None:
        """Move every parameter by its gradient: AdamW at `rate`, Muon at its multiple of it."""
        gradients = dict(zip(self.named, self.gradients(), strict=True))
        own_rate = rate * self._ratio
        with self._frozen():
            for name in self._matrices:
                parameter, gradient, momentum = self.named[name], gradients[name], self.state[f"momentum_buffer.{name}"]
                momentum.lerp_(gradient, 1 - MOMENTUM)
                update = orthogonal(gradient.lerp(momentum, MOMENTUM))
                rows, columns = parameter.shape
                parameter.mul_(1 - own_rate * DECAY).add_(update, alpha=-own_rate * max(1.0, rows / columns) ** 0.5)
            for group in self._adam.param_groups:
                group["lr"] = rate
            self._adam.step()


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


@torch.no_grad()  # type: ignore[untyped-decorator]
def clip(parameters: Iterable[nn.Parameter], limit: float) -> Tensor:
    """Scale gradients to a global norm of at most `limit`, as tf.clip_by_global_norm. Return the norm before that."""
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    norm = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(gradients)))
    # A minimum of tensors needs no copy to the processor and keeps NaN.
    torch._foreach_mul_(gradients, limit * torch.minimum(1 / norm, torch.full_like(norm, 1 / limit)))
    return norm
