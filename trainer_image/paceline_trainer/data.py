"""Which samples a process trains on: every sample once an epoch, in an order that does not depend on the world's size."""

from __future__ import annotations

import torch
from torch import Tensor


def epoch_order(count: int, seed: int, epoch: int) -> Tensor:
    """The order of an epoch, shape (count,): of seed and epoch alone."""
    generator = torch.Generator().manual_seed(seed * 1_000_003 + epoch)
    return torch.randperm(count, generator=generator)


def global_batches(order: Tensor, batch_size: int) -> list[Tensor]:
    """The epoch's batches over all processes; the last may be smaller."""
    return list(torch.split(order, batch_size))


def shard(batch: Tensor, rank: int, size: int) -> Tensor:
    """This process's part of a batch (may be empty): every size-th sample, from its rank on."""
    return batch[rank::size]
