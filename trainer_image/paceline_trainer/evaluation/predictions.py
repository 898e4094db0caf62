"""What the model says of every sample of a split, gathered in one process."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor

from paceline_trainer.distributed import World


@dataclass(frozen=True)
class Predictions:
    """Of N samples in any order: their ``indices`` (N,) in the split, ``outputs`` (N, …), ``targets`` (N,), ``losses`` (N,)."""

    indices: Tensor
    outputs: Tensor
    targets: Tensor
    losses: Tensor


def gathered(mine: Sequence[Predictions], world: World) -> Predictions | None:
    """All processes' together in the split's order, in rank 0 (else None); which process had which does not matter.

    A process may have none. Rank 0 holds N × (numbers of an output + 3). All processes call it together. Raises ValueError
    where nobody has any.
    """
    parts: list[Sequence[Predictions]] | None = [mine] * world.size if world.main else None
    if world.size > 1:
        dist.gather_object(mine, parts)
    found = [one for part in parts or [] for one in part]
    if not world.main:
        return None
    if not found:
        raise ValueError("there is nothing to evaluate on: the evaluation split is empty")
    order = torch.cat([one.indices for one in found]).argsort()
    return Predictions(
        torch.cat([one.indices for one in found])[order],
        torch.cat([one.outputs for one in found])[order],
        torch.cat([one.targets for one in found])[order],
        torch.cat([one.losses for one in found])[order],
    )
