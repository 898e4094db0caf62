"""Local SGD (Stich 2019): replicas take steps of their own, and share weights from time to time, not every step's gradients."""

from __future__ import annotations

import torch.distributed as dist
from torch import nn
from torch.distributed.algorithms.model_averaging.utils import average_parameters


class Averaging:
    """Of replicas of a model; ``every`` so many steps. All processes of the group make the same calls."""

    def __init__(self, model: nn.Module, group: dist.ProcessGroup, every: int) -> None:
        self._model, self._group, self._every = model, group, every
        self._averaged_at = 0
        self._step = 0

    def after_update(self, step: int) -> None:
        """``step`` counts from 1. After every so many steps all replicas have the mean of their weights."""
        self._step = step
        if step % self._every == 0:
            self.average()

    def average(self) -> None:
        """Now, if a step was made since the last time: before weights are saved or evaluated."""
        if self._averaged_at == self._step:
            return
        average_parameters(self._model.parameters(), self._group)
        self._averaged_at = self._step
