"""The workers of one attempt, sorted by what can be expected of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from paceline.plan import nodes as on
from paceline.plan.observed import NodeRecord, PodRecord


@dataclass(frozen=True, slots=True)
class Gang:
    """Every worker is in exactly one of these, by index."""

    # Waiting for a node, starting, running, or ended well.
    live: tuple[PodRecord, ...] = ()
    # Ended badly, and still there to be read.
    failed: tuple[PodRecord, ...] = ()
    # Being deleted, by whomever.
    ending: tuple[PodRecord, ...] = ()
    # On a node that has not answered for too long: nobody knows whether they still run.
    lost: tuple[PodRecord, ...] = ()

    @classmethod
    def of(cls, workers: Iterable[PodRecord], nodes: Mapping[str, NodeRecord], detect_seconds: int, now: float) -> Gang:
        lists: dict[str, list[PodRecord]] = {"live": [], "failed": [], "ending": [], "lost": []}
        for pod in sorted(workers, key=lambda p: (p.index, p.replacement)):
            lost_at = None if pod.succeeded else on.lost_at(pod, nodes, detect_seconds)
            if pod.deleting:
                state = "ending"
            elif pod.failed:
                state = "failed"
            elif lost_at is not None and now >= lost_at:
                state = "lost"
            else:
                state = "live"
            lists[state].append(pod)
        return cls(**{state: tuple(pods) for state, pods in lists.items()})

    @property
    def succeeded(self) -> bool:
        return any(p.succeeded for p in self.live)

    @property
    def running(self) -> int:
        return sum(p.running for p in self.live)

    def whole(self, size: int) -> bool:
        """Do as many as wanted run, or have they already ended well?"""
        return len(self.live) == size and self.running > 0 and all(p.running or p.succeeded for p in self.live)

    def free_indices(self, count: int) -> list[int]:
        """The smallest indices that no live worker has."""
        taken = {p.index for p in self.live}
        return [i for i in range(len(taken) + count) if i not in taken][:count]

    def surplus(self, size: int) -> list[PodRecord]:
        """Live workers beyond a size: those that wait for a node first, then those with the highest index."""
        order = sorted(self.live, key=lambda p: (p.scheduled_at is not None, p.running, -p.index))
        return order[: max(0, len(self.live) - size)]
