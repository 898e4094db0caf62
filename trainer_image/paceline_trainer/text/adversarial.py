"""Adversarial training on embeddings: a second pass on the worst small change of what the model reads.

FGM (Miyato et al. 2017) goes one step along the loss's gradient, PGD (Madry et al. 2018) several. The change is added to the
embedding's output, sample by sample, and bounded by the L2 norm over all of a text's tokens. So no weight is touched, and what a
text gets does not depend on its batch, nor on the number of processes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn

from paceline_trainer.text.tokens import PADDING

Backward = Callable[[Tensor, Sequence[Tensor] | None], None]


@dataclass(frozen=True)
class Attack:
    """``epsilon``: L2 norm of a text's change, in the embedding's units. One step is FGM, more are PGD, from no change on.

    ``rate``: of a step, default 2.5 × epsilon / steps, so that it can reach any point of the ball.
    """

    epsilon: float
    steps: int = 1
    rate: float | None = None

    def __post_init__(self) -> None:
        if self.epsilon <= 0 or self.steps < 1:
            raise ValueError(f"epsilon must be above 0 and steps at least 1, not {self.epsilon} and {self.steps}")

    def ascend(self, delta: Tensor, gradient: Tensor) -> Tensor:
        """A step of each sample's change (B, T, H) along its gradient, projected to the ball. 0 where the gradient is 0."""
        rate = 2.5 * self.epsilon / self.steps if self.rate is None else self.rate
        moved = delta + rate * gradient / _norm(gradient)
        return (moved * (self.epsilon / _norm(moved)).clamp(max=1.0)).to(delta)


class Perturbation:
    """Within ``with``, adds ``delta`` (B, T, H) to what an embedding makes of ids (B, T); 0 at first, and at padding always.

    ``embedding`` is called once in a forward pass (transformers' ``get_input_embeddings()``); all passes within are of the
    same batch. It may be frozen.
    """

    def __init__(self, embedding: nn.Module, padding: int = PADDING) -> None:
        self._embedding, self._padding = embedding, padding
        self._delta: Tensor | None = None
        self._real = torch.empty(0)

    def __enter__(self) -> Perturbation:
        self._handle = self._embedding.register_forward_hook(self._add)
        return self

    def __exit__(self, *_: object) -> None:
        self._handle.remove()

    @property
    def delta(self) -> Tensor:
        """Of the passes to come. Raises RuntimeError before a forward pass."""
        if self._delta is None:
            raise RuntimeError("the forward pass did not use the embedding: are the inputs features already?")
        return self._delta

    def ascend(self, attack: Attack) -> None:
        """After backward; makes the change of the next pass worse."""
        delta = self.delta
        assert delta.grad is not None
        with torch.no_grad():
            self._delta = attack.ascend(delta, delta.grad.where(self._real, 0.0)).requires_grad_()

    def _add(self, _module: nn.Module, arguments: tuple[Any, ...], output: Tensor) -> Tensor:
        if self._delta is None:
            self._real = (arguments[0] != self._padding).unsqueeze(2)
            self._delta = torch.zeros_like(output, requires_grad=True)
        return output + self._delta


def adversarial_backward(
    embedding: nn.Module,
    attack: Attack,
    loss: Callable[[], Tensor],
    backward: Backward,
    unsynchronised: Callable[[], AbstractContextManager[None]],
) -> Tensor:
    """Gradients of a batch and of its worst form, added up; the clean loss, detached. steps + 1 passes, forward and backward.

    ``loss()`` makes a forward pass of the batch and gives the sum of its losses. ``backward(loss, inputs)`` scales it and
    does what torch.autograd.backward does. Within ``unsynchronised()`` replicas keep gradients to themselves, as by DDP's
    no_sync; only the last pass is outside of it, and shares the sum. All replicas make as many passes.
    """
    with Perturbation(embedding) as perturbation:
        with unsynchronised():
            clean = loss()
            backward(clean, None)
            perturbation.ascend(attack)
            for _ in range(attack.steps - 1):
                backward(loss(), [perturbation.delta])
                perturbation.ascend(attack)
        backward(loss(), None)
    return clean.detach()


def attacked(
    model: nn.Module,
    embedding: nn.Module,
    losses: Callable[[Tensor, Tensor], Tensor],
    inputs: Tensor,
    targets: Tensor,
    attack: Attack,
) -> Tensor:
    """The model's outputs (B, …) of inputs (B, T) under attack, for evaluation; losses of each sample (B,).

    ``model`` is the module itself, not its DDP wrapper. Its parameters get no gradients.
    """
    with torch.enable_grad(), Perturbation(embedding) as perturbation:
        for _ in range(attack.steps):
            loss = losses(model(inputs), targets).sum()
            torch.autograd.backward(loss, inputs=[perturbation.delta])
            perturbation.ascend(attack)
        with torch.no_grad():
            return cast("Tensor", model(inputs))


def _norm(x: Tensor) -> Tensor:
    """L2, of each sample (B, 1, 1), never 0; float64, as squares of small gradients would vanish in float32."""
    norm: Tensor = torch.linalg.vector_norm(x, dim=(1, 2), keepdim=True, dtype=torch.float64)
    return norm.clamp(min=torch.finfo(torch.float64).tiny)
