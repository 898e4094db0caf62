"""Which worker of a parameter server may begin which step: stale synchronous parallel (Ho et al. 2013)."""

from __future__ import annotations


class Clocks:
    """Steps count from 1. A worker begins a step only while the slowest has ended at least all but ``staleness`` of those
    before it, so 0 is in lockstep; and none goes past a meeting, where all have ended the same steps."""

    def __init__(self, workers: int, staleness: int, step: int) -> None:
        """All are about to begin the step after ``step``, at which they meet; ``meet_at`` says when they do again."""
        self._staleness, self._meeting = staleness, step
        self._ended = [step] * workers
        self._waiting: set[int] = set(range(workers))

    @property
    def slowest(self) -> int:
        """The newest step that all have ended."""
        return min(self._ended)

    @property
    def met(self) -> bool:
        return self.slowest == self._meeting

    def meet_at(self, step: int) -> None:
        """After a meeting: all go on, and meet when they have ended ``step``."""
        self._meeting = step
        self._waiting.clear()

    def meet_soon(self) -> None:
        """At the furthest step that any has begun."""
        self._meeting = max(ended + (worker not in self._waiting) for worker, ended in enumerate(self._ended))

    def end(self, worker: int) -> None:
        """A worker has ended its step, and waits for ``released`` or the meeting."""
        self._ended[worker] += 1
        self._waiting.add(worker)

    def released(self) -> list[int]:
        """Those that waited and begin their next step now."""
        upto = min(self.slowest + self._staleness, self._meeting - 1)
        found = sorted(worker for worker in self._waiting if self._ended[worker] <= upto)
        self._waiting.difference_update(found)
        return found
