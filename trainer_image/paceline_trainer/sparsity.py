"""Weights that are zero and stay zero: what unstructured pruning left out is not grown again by training."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Zeros:
    """Of a model's matrices and convolutions, as they are when this is made; each process has those of its own shards.

    Biases and norms are not looked at: pruning leaves them, and a zero there is a value like any other.
    """

    def __init__(self, model: nn.Module) -> None:
        self._masks: list[tuple[nn.Parameter, Tensor]] = [
            (parameter, parameter.detach() == 0) for parameter in model.parameters() if parameter.ndim > 1
        ]

    @torch.no_grad()
    def restore(self) -> None:
        """After an update."""
        for parameter, zero in self._masks:
            parameter.masked_fill_(zero, 0)
