"""k-fold cross-validation: every sample of the training split is held out once."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor


def folds(targets: Tensor, count: int, seed: int, *, stratified: bool) -> list[Tensor]:
    """The indices (n,) that each of ``count`` folds holds out, sorted; their sizes differ by at most one.

    ``stratified``: ``targets`` (N,) are classes, of which every fold has its share: for each class, too, the numbers differ by at
    most one. Raises ValueError for fewer samples than folds.
    """
    if not 2 <= count <= len(targets):
        raise ValueError(f"folds: {len(targets)} samples cannot be held out in {count} folds")
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(targets), generator=generator)
    if stratified:
        # One class after the other, dealt out like cards: whose turn it is goes on from class to class.
        order = order[targets[order].argsort(stable=True)]
    return [order[i::count].sort().values for i in range(count)]


def summarised(each: Sequence[Mapping[str, float]]) -> dict[str, object]:
    """Mean and standard deviation (of a sample: n - 1) of the metrics that every fold has, and each fold's own."""
    names = [name for name in each[0] if all(name in one for one in each)]
    mean = {name: sum(one[name] for one in each) / len(each) for name in names}
    deviation = {
        name: math.sqrt(sum((one[name] - mean[name]) ** 2 for one in each) / (len(each) - 1)) for name in names
    }
    return {"mean": mean, "deviation": deviation, "each": [dict(one) for one in each]}
