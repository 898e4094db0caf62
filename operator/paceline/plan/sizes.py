"""The sizes that an elastic gang may have. Pure arithmetic."""

from __future__ import annotations

from dataclasses import dataclass

from paceline.api.spec import TrainingJobSpec


@dataclass(frozen=True, slots=True)
class Sizes:
    """``allowed`` is ascending and never empty."""

    allowed: tuple[int, ...]
    # Every number between the smallest and the largest is allowed: torchrun may form a group of whoever is there.
    free: bool

    @property
    def smallest(self) -> int:
        return self.allowed[0]

    @property
    def largest(self) -> int:
        return self.allowed[-1]

    def fit(self, nodes: int) -> int | None:
        """The largest size that so many nodes can make; None where they are too few for any."""
        return max((size for size in self.allowed if size <= nodes), default=None)


def sizes(spec: TrainingJobSpec) -> Sizes:
    """Of a fixed gang: its one size."""
    elastic = spec.elastic
    if elastic is None:
        return Sizes((spec.nodes,), free=False)
    top = elastic.max_nodes or max(spec.nodes, *(elastic.allowed_nodes or [0]))
    if elastic.allowed_nodes:
        return Sizes(tuple(elastic.allowed_nodes), free=False)
    step = elastic.step or 1
    return Sizes(tuple(range(elastic.min_nodes, top + 1, step)), free=step == 1)


def nnodes(spec: TrainingJobSpec, size: int) -> tuple[int, int]:
    """torchrun's (min, max) for a gang that is to have ``size`` workers now.

    Where not every number is allowed, torchrun must not form a group of those who happen to be there: each size is an
    attempt of its own then.
    """
    allowed = sizes(spec)
    return (allowed.smallest, max(allowed.largest, size)) if allowed.free else (size, size)
