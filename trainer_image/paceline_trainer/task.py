"""What a recipe must say of itself; the loop does the rest."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from paceline_trainer.recipes import Training


@dataclass(frozen=True)
class Arrays:
    """A data set in memory: inputs (N, …) and targets (N, …), index by index."""

    inputs: Tensor
    targets: Tensor

    def __len__(self) -> int:
        return len(self.inputs)


@dataclass(frozen=True)
class Evaluation:
    """Figures on the evaluation split; ``details`` are tables for the report (a confusion matrix)."""

    metrics: dict[str, float]
    details: dict[str, Any]


class Task(Protocol):
    """A model, its data and its loss. Constructed in every process, with the same seed."""

    dataset: str

    def __init__(self, params: Training) -> None: ...

    def splits(self) -> tuple[Arrays, Arrays]:
        """(training, evaluation); the same in every process."""

    def model(self) -> nn.Module: ...

    def losses(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Loss of each sample, shape (B,)."""

    def statistics(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Sums over samples, shape (K,), that add up over batches and processes to what evaluation() needs."""

    def evaluation(self, statistics: Tensor) -> Evaluation:
        """The metrics from the sums over the whole split."""


def stratified_split(labels: Tensor, share: float, seed: int) -> tuple[Tensor, Tensor]:
    """Indices (train, evaluation) with ``share`` of every class (rounded) in the evaluation split."""
    generator = torch.Generator().manual_seed(seed)
    held_out = []
    for label in torch.unique(labels):
        members = torch.nonzero(labels == label).flatten()
        order = members[torch.randperm(len(members), generator=generator)]
        held_out.append(order[: round(len(members) * share)])
    evaluation = torch.cat(held_out).sort().values
    mask = torch.ones(len(labels), dtype=torch.bool)
    mask[evaluation] = False
    return torch.nonzero(mask).flatten(), evaluation
