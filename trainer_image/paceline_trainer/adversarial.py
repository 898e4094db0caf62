"""Adversarial inputs: the worst small change of a sample that a gradient finds, for training and for evaluation.

FGSM (Goodfellow et al. 2015) takes one step; PGD (Madry et al. 2018) several from a random start, each projected back.
Both are of the L∞ ball: no value changes by more than ``epsilon``, and none leaves the data's range.
``model`` is the module itself, not its DDP wrapper: DDP takes each forward pass for the beginning of a reduction.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

Losses = Callable[[Tensor, Tensor], Tensor]


def fgsm(
    model: nn.Module,
    losses: Losses,
    inputs: Tensor,
    targets: Tensor,
    epsilon: float,
    *,
    low: float = 0.0,
    high: float = 1.0,
) -> Tensor:
    """inputs + epsilon × sign of the loss's gradient, within [low, high]; inputs (B, …), losses of each sample (B,).

    The model's parameters get no gradients, nor do those that they have change.
    """
    return (inputs + epsilon * _gradient(model, losses, inputs, targets).sign()).clamp(low, high)


def pgd(
    model: nn.Module,
    losses: Losses,
    inputs: Tensor,
    targets: Tensor,
    epsilon: float,
    *,
    start: Tensor,
    steps: int = 10,
    rate: float | None = None,
    low: float = 0.0,
    high: float = 1.0,
) -> Tensor:
    """Projected gradient ascent: ``steps`` of ``rate`` (default 2.5 × epsilon / steps, so that it can reach any point).

    ``start``: random numbers in [0, 1), shaped as inputs; where in the ball to begin. 0.5 is the inputs.
    """
    rate = 2.5 * epsilon / steps if rate is None else rate
    found = (inputs + epsilon * (2 * start.to(inputs) - 1)).clamp(low, high)
    for _ in range(steps):
        found = found + rate * _gradient(model, losses, found, targets).sign()
        found = torch.minimum(torch.maximum(found, inputs - epsilon), inputs + epsilon).clamp(low, high)
    return found


def _gradient(model: nn.Module, losses: Losses, inputs: Tensor, targets: Tensor) -> Tensor:
    """Of each sample's own loss by its own input; so a sample's result does not depend on its batch."""
    asked = inputs.detach().clone().requires_grad_(True)
    with torch.enable_grad():
        (gradient,) = torch.autograd.grad(losses(model(asked), targets).sum(), asked)
    return gradient.detach()
