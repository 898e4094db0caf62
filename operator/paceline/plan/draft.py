"""A plan in the making: what the steps of reconcile.py read from and write to."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from paceline.api import conditions as c
from paceline.api.base import at
from paceline.api.status import NodeCounts, Phase, TrainingJobStatus
from paceline.api.trainingjob import TrainingJob
from paceline.plan import progress
from paceline.plan.actions import Action, Announce, DeletePod, Plan
from paceline.plan.observed import Observed, PodRecord


class Draft:
    def __init__(self, job: TrainingJob, seen: Observed, now: float) -> None:
        self.job, self.seen, self.now = job, seen, now
        self.status: TrainingJobStatus = job.status
        self.actions: list[Action] = []
        self._wakes: list[float] = []
        self._deleted: set[str] = set()
        # The job's pods by role; workers of earlier attempts are only ever deleted.
        self.rendezvous = [p for p in seen.pods if p.role == "rendezvous"]

    # -- what is there ---------------------------------------------------------------------------------------------

    @property
    def attempt(self) -> int:
        return self.status.attempt

    @property
    def workers(self) -> list[PodRecord]:
        """Workers of the current attempt, by index."""
        mine = (p for p in self.seen.pods if p.role == "worker" and p.attempt == self.attempt)
        return sorted(mine, key=lambda p: p.index)

    @property
    def wanted(self) -> int:
        """Workers that the current attempt is made of; the spec may have changed since it began."""
        return self.status.nodes.desired if self.status.nodes else self.job.spec.nodes

    def holds(self, condition: str) -> bool:
        return c.holds(self.status.conditions, condition)

    # -- what follows ----------------------------------------------------------------------------------------------

    def set(self, **fields: Any) -> None:
        self.status = self.status.model_copy(update=fields)

    def condition(self, type_: str, status: bool, reason: str, message: str) -> None:
        generation = self.job.metadata.generation
        new = c.put(self.status.conditions, type_, status, reason, message, now=at(self.now), generation=generation)
        self.set(conditions=new)

    def say(self, phase: Phase, message: str) -> None:
        self.set(phase=phase, message=message)

    def announce(self, reason: str, message: str, *, warning: bool = False) -> None:
        self.actions.append(Announce(reason, message, "Warning" if warning else "Normal"))

    def delete(self, pods: Iterable[PodRecord], grace_seconds: int | None = None) -> None:
        for pod in pods:
            if not pod.deleting and pod.uid not in self._deleted:
                self._deleted.add(pod.uid)
                # A kubelet that is gone never confirms a graceful delete.
                grace = 0 if pod.node in self.seen.unready_nodes else grace_seconds
                self.actions.append(DeletePod(pod.name, pod.uid, grace))

    def wake(self, when: float | None) -> None:
        if when is not None:
            self._wakes.append(when)

    def new_attempt(self, nodes: int) -> None:
        self.set(attempt=self.attempt + 1, nodes=NodeCounts(desired=nodes, running=0, summary=f"0/{nodes}"))

    def stop_clock(self) -> None:
        """The active period is over (suspended or ended): bank its seconds."""
        since = self.status.active_since
        if since is not None:
            banked = self.status.active_seconds + max(0, int(self.now - since.timestamp()))
            self.set(active_seconds=banked, active_since=None)

    def plan(self, *, final: bool) -> Plan:
        self.status, later = progress.merge(self.status, self.seen.report, self.now, final=final)
        self.wake(later)
        return Plan(self.status, tuple(self.actions), min(self._wakes, default=None))
