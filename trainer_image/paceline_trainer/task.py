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

    def __getitem__(self, indices: Tensor) -> Arrays:
        return Arrays(self.inputs[indices], self.targets[indices])


@dataclass(frozen=True)
class Evaluation:
    """Figures on the evaluation split, each finite; ``details`` are tables for the report, as JSON has them."""

    metrics: dict[str, float]
    details: dict[str, Any]


class Task(Protocol):
    """A model, its data and its loss. Constructed in every process, with the same seed.

    ``classes``: of a classifier, whose outputs are logits (B, C) and whose targets indices (B,); none of a regression, whose
    outputs and targets are (B,).
    """

    dataset: str
    classes: tuple[str, ...]

    def __init__(self, params: Training) -> None: ...

    def splits(self) -> tuple[Arrays, Arrays]:
        """(training, evaluation); the same in every process."""

    def model(self) -> nn.Module: ...

    def losses(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Loss of each sample, shape (B,)."""


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
