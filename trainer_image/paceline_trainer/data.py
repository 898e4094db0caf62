"""Which samples a process trains on: every sample once an epoch, in an order that does not depend on the world's size."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from torch import Tensor


def epoch_order(count: int, seed: int, epoch: int) -> Tensor:
    """The order of an epoch, shape (count,): of seed and epoch alone."""
    generator = torch.Generator().manual_seed(seed * 1_000_003 + epoch)
    return torch.randperm(count, generator=generator)


def by_length(order: Tensor, lengths: Tensor, batch_size: int, pool: int = 32) -> Tensor:
    """An epoch's order (N,), rearranged so that texts of similar lengths (of all samples, (N,)) come in the same batch.

    Of each ``pool`` batches in order, samples are sorted by length and these batches put in the order in which the first
    of their samples came. Every sample still comes once, in an order that follows from the epoch's alone; so it is the same at
    any number of processes. The last batch of an epoch, which may be smaller, stays the last.
    """
    full = len(order) // batch_size * batch_size
    place = torch.empty_like(order)
    place[order] = torch.arange(len(order))
    found = []
    for samples in torch.split(order[:full], pool * batch_size):
        batches = samples[lengths[samples].argsort(stable=True)].view(-1, batch_size)
        found.append(batches[place[batches].min(1).values.argsort()].flatten())
    return torch.cat([*found, order[full:]])


def global_batches(order: Tensor, batch_size: int) -> list[Tensor]:
    """The epoch's batches over all processes; the last may be smaller."""
    return list(torch.split(order, batch_size))


def shard(batch: Tensor, rank: int, size: int) -> Tensor:
    """This process's part of a batch (may be empty): every size-th sample, from its rank on."""
    return batch[rank::size]


def batches_per_epoch(count: int, batch_size: int) -> int:
    return math.ceil(count / batch_size)


@dataclass(frozen=True)
class Position:
    """Where training stands after ``step`` steps: the next batch by epoch and index; ``samples`` trained on so far."""

    step: int
    epoch: int
    batch: int
    samples: int


def position(step: int, count: int, batch_size: int) -> Position:
    """By arithmetic alone: the order does not depend on the number of processes, nor on how often the run was interrupted."""
    epoch, batch = divmod(step, batches_per_epoch(count, batch_size))
    return Position(step, epoch, batch, epoch * count + min(batch * batch_size, count))


class TokensBefore:
    """How many tokens the samples before a position have, of a run whose samples have ``tokens`` (N,) each."""

    def __init__(self, tokens: Tensor, order: Callable[[int], Tensor]) -> None:
        """``order`` of an epoch: the samples' indices (N,)."""
        self._tokens, self._order = tokens, order
        self._total = int(tokens.sum())
        # Of the epoch that was asked for last: tokens up to each sample in order, itself included.
        self._epoch, self._upto = -1, tokens

    def __call__(self, at: Position) -> int:
        within = at.samples - at.epoch * len(self._tokens)
        if not within:
            return at.epoch * self._total
        if at.epoch != self._epoch:
            self._epoch, self._upto = at.epoch, self._tokens[self._order(at.epoch)].cumsum(0)
        return at.epoch * self._total + int(self._upto[within - 1])


def packaged(name: str, delimiter: str | None = None) -> Tensor:
    """A table that comes with scikit-learn, float64. Without importing scikit-learn: it takes a second of every start."""
    found = find_spec("sklearn")
    if found is None or not found.submodule_search_locations:
        raise ModuleNotFoundError("scikit-learn, which brings the data sets, is not installed")
    folder = Path(found.submodule_search_locations[0]) / "datasets" / "data"
    return torch.from_numpy(np.loadtxt(folder / name, delimiter=delimiter))
