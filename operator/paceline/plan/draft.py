"""A plan in the making: what the steps of reconcile.py read from and write to."""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal
from functools import cached_property
from typing import Any

from paceline.api.base import at
from paceline.api.status import NodeCounts, RestartCounts, TrainingJobStatus
from paceline.api.trainingjob import TrainingJob
from paceline.cost import goodput
from paceline.plan import nodes, pace, progress
from paceline.plan.actions import Action, DeletePod, Plan
from paceline.plan.bill import USD, Bill
from paceline.plan.books import read_account
from paceline.plan.gang import Gang
from paceline.plan.observed import Observed, PodRecord
from paceline.plan.writing import Writing

# Thirty years. A program that has made one step of very many may well say more.
LONGEST_SECONDS = 10**9


class Draft(Writing[TrainingJobStatus, Action]):
    def __init__(self, job: TrainingJob, seen: Observed, now: float) -> None:
        super().__init__(job.status, job.metadata.generation, now)
        self.job, self.seen = job, seen
        self._deleted: set[str] = set()
        self._gang: tuple[tuple[int, int], Gang] | None = None
        # The gang has just been given a larger size: workers are missing, and none is lost.
        self.grown = False
        # A failure is seen that cannot be judged yet: nothing is done about missing workers before.
        self.judging = False
        self.rendezvous = [p for p in seen.pods if p.role == "rendezvous"]

    # -- what is there ---------------------------------------------------------------------------------------------

    @property
    def attempt(self) -> int:
        return self.status.attempt

    @property
    def workers(self) -> list[PodRecord]:
        """Workers of the current attempt."""
        return [p for p in self.seen.pods if p.role == "worker" and p.attempt == self.attempt]

    @property
    def probes(self) -> list[PodRecord]:
        """Workers of the next attempt, made before it begins to see whether there is room for it."""
        return [p for p in self.seen.pods if p.role == "worker" and p.attempt > self.attempt]

    @property
    def gang(self) -> Gang:
        """The current attempt's workers, without those that this plan deletes."""
        # Asked for by every step: made anew only where one has changed what it follows from (ADR 13).
        made_of = self.attempt, len(self._deleted)
        if self._gang is None or self._gang[0] != made_of:
            here = (p for p in self.workers if p.uid not in self._deleted)
            gang = Gang.of(here, self.seen.nodes, self.job.spec.node_loss.detect_seconds, self.now)
            self._gang = made_of, gang
        return self._gang[1]

    @property
    def store_runs(self) -> bool:
        """Is there a store to meet at? Without (an earlier attempt's may still be ending) workers run, and wait in vain."""
        return any(p.running and not p.deleting for p in self.rendezvous)

    @property
    def wanted(self) -> int:
        """Workers that the gang is to have now; the spec may have changed since, or the cluster have no room."""
        return self.status.nodes.desired if self.status.nodes else self.job.spec.nodes

    @property
    def restarts(self) -> RestartCounts:
        return self.status.restarts or RestartCounts()

    def lost(self, pod: PodRecord) -> bool:
        """Is the pod on a node that does not answer any more?"""
        since = nodes.lost_at(pod, self.seen.nodes, self.job.spec.node_loss.detect_seconds)
        return since is not None and self.now >= since

    @cached_property
    def bill(self) -> Bill:
        """What the job has cost by now; nothing that a plan decides changes it."""
        return Bill.of(self.job, self.seen, self.now)

    @cached_property
    def remaining_seconds(self) -> int | None:
        """Until the end, as the program says; None where it does not, or says what nobody lives to see."""
        told = self.seen.report or self.job.status.progress
        eta = told.eta_seconds if told else None
        return None if eta is None or eta > LONGEST_SECONDS else eta

    @cached_property
    def pace(self) -> float | None:
        return read_account(self.job.status.goodput).pace()

    @cached_property
    def forecast(self) -> Decimal | None:
        """USD at the end. None where the program does not say how long it still takes, or has not trained: nothing is guessed."""
        if self.remaining_seconds is None or not self.bill.rate or self.pace is None:
            return None
        return goodput.forecast(self.bill.accrued, self.bill.rate, self.remaining_seconds, self.pace).quantize(USD)

    # -- what follows ----------------------------------------------------------------------------------------------

    def delete(self, pods: Iterable[PodRecord], grace_seconds: int | None = None) -> None:
        for pod in pods:
            lost = self.lost(pod)
            # A kubelet that is gone never confirms a graceful delete: what hangs there is deleted once more, at once.
            if (lost or not pod.deleting) and pod.uid not in self._deleted:
                self._deleted.add(pod.uid)
                self.actions.append(DeletePod(pod.name, pod.uid, 0 if lost else grace_seconds))

    def judge_at(self, when: float) -> None:
        self.judging = True
        self.wake(when)

    def new_attempt(self, size: int) -> None:
        self.set(attempt=self.attempt + 1, restarts=self.restarts.model_copy(update={"in_place_this_attempt": 0}))
        self.resize(size)

    def resize(self, size: int) -> None:
        self.grown = self.grown or size > self.wanted
        old = self.status.nodes or NodeCounts(desired=size, running=0, summary="")
        self.set(nodes=old.model_copy(update={"desired": size, "requested": self.job.spec.nodes}))

    def note_resize(self) -> None:
        assert self.status.nodes is not None
        self.set(nodes=self.status.nodes.model_copy(update={"resize_time": at(self.now)}))

    def count_nodes(self) -> None:
        spec = self.job.spec
        old = self.status.nodes or NodeCounts(desired=spec.nodes, requested=spec.nodes, running=0, summary="")
        running = self.gang.running
        update: dict[str, Any] = {"running": running, "summary": f"{running}/{spec.nodes}"}
        if spec.elastic is not None:
            update |= {"min": spec.elastic.min_nodes, "max": spec.elastic.max_nodes or spec.nodes}
        self.set(nodes=old.model_copy(update=update))

    def stop_clock(self) -> None:
        """The active period is over (suspended or ended): bank its seconds."""
        since = self.status.active_since
        if since is not None:
            banked = self.status.active_seconds + max(0, int(self.now - since.timestamp()))
            self.set(active_seconds=banked, active_since=None)

    def hear(self, *, final: bool) -> None:
        """Takes over what the program reported; a final report at once, others not more often than people look."""
        every = pace.write_every(self.seen.reporting)
        self.status, later = progress.merge(self.status, self.seen.report, self.now, every=every, final=final)
        self.wake(later)

    def plan(self) -> Plan:
        return Plan(self.status, tuple(self.actions), self.wake_at)
