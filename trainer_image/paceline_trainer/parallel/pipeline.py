"""Layers placed on several processes, fed with microbatches (torch.distributed.pipelining).

A model that can be divided has its layers in an ordered ``layers: nn.ModuleDict``, and a forward that runs those that are there:
a stage is the model without the others' layers, so every parameter keeps its name, in checkpoints too.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.distributed import ProcessGroup
from torch.distributed.pipelining import PipelineStage, Schedule1F1B

from paceline_trainer.parallel.layout import LayoutError


def cut(model: nn.Module, stage: int, stages: int) -> nn.Module:
    """Removes all layers but the stage's from the model. Raises LayoutError where they cannot be shared out evenly."""
    layers = getattr(model, "layers", None)
    if not isinstance(layers, nn.ModuleDict):
        raise LayoutError(
            "pipeline_stages: this recipe's model has no layers that could be placed on several processes; set 1"
        )
    if len(layers) % stages:
        divisors = [n for n in range(1, len(layers) + 1) if len(layers) % n == 0]
        raise LayoutError(
            f"pipeline_stages: {stages} stages do not divide the model's {len(layers)} layers; take one of {divisors}"
        )
    each = len(layers) // stages
    for index, name in enumerate(list(layers)):
        if index // each != stage:
            del layers[name]
    return model


class Pipeline:
    """One stage of a pipeline: runs steps together with the stages before and behind it.

    ``losses(outputs, targets)`` gives the loss of each sample, shape (B,); ``batch_size`` is the most samples of one call.
    """

    def __init__(
        self,
        stage: nn.Module,
        group: ProcessGroup,
        device: torch.device,
        losses: Callable[[Tensor, Tensor], Tensor],
        batch_size: int,
        microbatches: int,
    ) -> None:
        self._losses, self._microbatches = losses, microbatches
        self._size = math.ceil(batch_size / microbatches)
        self._targets = self._real = torch.empty(0)
        self._scale = 1.0
        index, count = group.rank(), group.size()
        self.first, self.last = index == 0, index == count - 1
        self._schedule = Schedule1F1B(
            PipelineStage(stage, index, count, device, group=group),
            n_microbatches=microbatches,
            loss_fn=self._weighted,
            scale_grads=False,
        )

    def backward(self, inputs: Tensor, targets: Tensor, scale: float) -> Tensor:
        """Forward and backward of (B, …) samples, the gradients scaled; on the last stage their summed loss, else 0."""
        losses: list[Tensor] = []
        self._scale = scale
        self._run(self._schedule.step, inputs, targets, losses=losses)
        if not self.last or scale == 0:
            return torch.zeros((), device=inputs.device)
        return torch.stack(losses).sum().detach() / scale

    @torch.no_grad()
    def outputs(self, inputs: Tensor, targets: Tensor) -> Tensor | None:
        """The model's outputs for (B, …) samples, on the last stage."""
        found = self._run(self._schedule.eval, inputs, targets)
        return found[: len(inputs)] if found is not None else None

    def _run(
        self, call: Callable[..., Tensor | None], inputs: Tensor, targets: Tensor, **more: object
    ) -> Tensor | None:
        # Stages agree on shapes once, so every microbatch has the same: a smaller batch is filled up, with what does not count.
        places = torch.arange(self._size * self._microbatches, device=inputs.device)
        fill = places % len(inputs)
        self._targets = targets[fill]
        self._real = places < len(inputs)
        arguments = (
            [(part,) for part in torch.split(inputs[fill], self._size)] if self.first else [()] * self._microbatches
        )
        return call(arg_mbs=arguments, target_mbs=list(torch.split(places, self._size)) if self.last else None, **more)

    def _weighted(self, outputs: Tensor, places: Tensor) -> Tensor:
        """Of one microbatch. Targets are told by their places: the schedule passes nothing on but one tensor."""
        return (self._losses(outputs, self._targets[places]) * self._real[places]).sum() * self._scale
