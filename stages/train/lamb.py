"""Gradients and a rate → one step of LAMB, by ALBERT's lamb_optimizer.py.

There is no bias correction. Layer normalisation and biases have neither weight decay nor a trust ratio.
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
# exclude_from_weight_decay of optimization.py. These parameters have no trust ratio either.
NO_DECAY = re.compile("LayerNorm|layer_norm|bias")
Tensors = dict[str, Tensor]


class Lamb:
    """The optimizer of named parameters. Its state is two float32 moments of each, on the parameter's device."""

    def __init__(self, parameters: Iterable[tuple[str, nn.Parameter]]) -> None:
        named = dict(parameters)
        self.names, self.parameters = list(named), list(named.values())
        self.first = [torch.zeros_like(parameter, dtype=torch.float32) for parameter in self.parameters]
        self.second = [torch.zeros_like(moment) for moment in self.first]
        self._decay_indices = [index for index, name in enumerate(self.names) if not NO_DECAY.search(name)]

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
        weights, decayed = ([tensors[index] for index in self._decay_indices] for tensors in (self.parameters, updates))
        torch._foreach_add_(decayed, weights, alpha=DECAY)
        torch._foreach_mul_(decayed, _trust_ratios(weights, decayed))
        torch._foreach_add_(self.parameters, updates, alpha=-rate)

    def zero_grad(self) -> None:
        for parameter in self.parameters:
            parameter.grad = None

    def state(self) -> Tensors:
        """The moments by `first.` or `second.` and the parameter's name."""
        moments = (("first", self.first), ("second", self.second))
        return {f"{kind}.{name}": t for kind, tensors in moments for name, t in zip(self.names, tensors, strict=True)}

    def load(self, state: Tensors) -> None:
        """Load all moments. Refusal for those of other parameters."""
        own = self.state()
        if set(own) != set(state) or any(own[name].shape != state[name].shape for name in own):
            raise Refusal("these are not the moments of the configuration's model; remove this checkpoint")
        for name, tensor in own.items():
            tensor.copy_(state[name])


def _trust_ratios(weights: list[Tensor], updates: list[Tensor]) -> list[Tensor]:
    """The norm of each parameter over the norm of its update; 1 if either is 0."""
    weight_norms, update_norms = (torch.stack(torch._foreach_norm(tensors)) for tensors in (weights, updates))
    ratios = torch.where((weight_norms > 0) & (update_norms > 0), weight_norms / update_norms, 1.0)
    return list(ratios.unbind())


@torch.no_grad()  # type: ignore[untyped-decorator]
def clip(parameters: Iterable[nn.Parameter], limit: float) -> Tensor:
    """Scale gradients to a global norm of at most `limit`, as tf.clip_by_global_norm. Return the norm before that."""
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    norm = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(gradients)))
    # A minimum of tensors needs no copy to the processor and keeps NaN.
    torch._foreach_mul_(gradients, limit * torch.minimum(1 / norm, torch.full_like(norm, 1 / limit)))
    return norm
