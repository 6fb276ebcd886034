"""Gradients and a rate → one step of LAMB, as ALBERT's lamb_optimizer.py takes it.

No bias correction; layer normalisation and biases have neither weight decay nor a trust ratio.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

import torch
from torch import Tensor, nn

from stages.command.refusal import Refusal

BETAS = (0.9, 0.999)
EPSILON = 1e-6
DECAY = 0.01
# exclude_from_weight_decay of optimization.py; what it leaves out of the decay has no trust ratio either.
LEFT_OUT = re.compile("LayerNorm|layer_norm|bias")
Tensors = dict[str, Tensor]


class Lamb:
    """The optimizer of named parameters. Its state are two moments for each, float32, where the parameter is."""

    def __init__(self, parameters: Iterable[tuple[str, nn.Parameter]]) -> None:
        named = list(parameters)
        self.names = [name for name, _ in named]
        self.parameters = [parameter for _, parameter in named]
        self.first = [torch.zeros_like(parameter, dtype=torch.float32) for parameter in self.parameters]
        self.second = [torch.zeros_like(moment) for moment in self.first]
        self.adapted = [place for place, name in enumerate(self.names) if not LEFT_OUT.search(name)]

    @torch.no_grad()  # type: ignore[untyped-decorator]
    def step(self, rate: float) -> None:
        """Move every parameter by its gradient at this rate."""
        gradients = [parameter.grad for parameter in self.parameters]
        if any(gradient is None for gradient in gradients):
            raise ValueError("a parameter has no gradient")
        torch._foreach_mul_(self.first, BETAS[0])
        torch._foreach_add_(self.first, gradients, alpha=1 - BETAS[0])
        torch._foreach_mul_(self.second, BETAS[1])
        torch._foreach_addcmul_(self.second, gradients, gradients, value=1 - BETAS[1])
        roots = torch._foreach_sqrt(self.second)
        torch._foreach_add_(roots, EPSILON)
        updates = list(torch._foreach_div(self.first, roots))
        weights, adapted = ([tensors[place] for place in self.adapted] for tensors in (self.parameters, updates))
        torch._foreach_add_(adapted, weights, alpha=DECAY)
        torch._foreach_mul_(adapted, _ratios(weights, adapted))
        torch._foreach_add_(self.parameters, updates, alpha=-rate)

    def zero_grad(self) -> None:
        for parameter in self.parameters:
            parameter.grad = None

    def state(self) -> Tensors:
        """The moments, by the parameters' names."""
        moments = (("first", self.first), ("second", self.second))
        return {f"{kind}.{name}": t for kind, tensors in moments for name, t in zip(self.names, tensors, strict=True)}

    def load(self, given: Tensors) -> None:
        """Take over moments, all of them. Refusal for those of other parameters."""
        own = self.state()
        if set(own) != set(given) or any(own[name].shape != given[name].shape for name in own):
            raise Refusal("these are not the moments of the configuration's model; remove this checkpoint")
        for name, tensor in own.items():
            tensor.copy_(given[name])


def _ratios(weights: list[Tensor], updates: list[Tensor]) -> list[Tensor]:
    """Trust ratios: the norm of a parameter by that of its update; 1 where one of them is 0."""
    of_weights, of_updates = (torch.stack(torch._foreach_norm(tensors)) for tensors in (weights, updates))
    ratios = torch.where((of_weights > 0) & (of_updates > 0), of_weights / of_updates, 1.0)
    return list(ratios.unbind())


@torch.no_grad()  # type: ignore[untyped-decorator]
def clip(parameters: Iterable[nn.Parameter], most: float) -> Tensor:
    """Scale gradients so that their global norm is `most` at most, as tf.clip_by_global_norm; gives the norm before."""
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    norm = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(gradients)))
    # min of tensors: no copy to this side, and NaN stays NaN.
    torch._foreach_mul_(gradients, most * torch.minimum(1 / norm, torch.full_like(norm, 1 / most)))
    return norm
