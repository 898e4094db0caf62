"""A CompressionJob's plan in the making."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from functools import cached_property

from paceline.api import conditions as c
from paceline.api.compression_status import CompressionCost, CompressionJobStatus
from paceline.api.compressionjob import CompressionJob
from paceline.api.status import Phase
from paceline.api.trainingjob import TrainingJob
from paceline.plan.compression.children import budget
from paceline.plan.compression.gates import plain
from paceline.plan.compression.seen import (
    CompressionAction,
    CompressionPlan,
    DeleteChild,
    PatchChild,
    Seen,
    ended,
)
from paceline.plan.writing import Writing


class CompressionDraft(Writing[CompressionJobStatus, CompressionAction]):
    def __init__(self, job: CompressionJob, seen: Seen, now: float) -> None:
        super().__init__(job.status, job.metadata.generation, now)
        self.job, self.seen = job, seen

    @property
    def finished(self) -> bool:
        return self.holds(c.COMPLETE) or self.holds(c.FAILED)

    @property
    def running(self) -> list[TrainingJob]:
        return [child for child in self.seen.children.values() if not ended(child)]

    @cached_property
    def spent_by_job(self) -> dict[str, Decimal]:
        """USD by the uid of the TrainingJob, those that are gone among them; only what has a price."""
        known = {
            uid: Decimal(usd) for uid, usd in (self.job.status.cost.by_job if self.job.status.cost else {}).items()
        }
        for child in self.seen.children.values():
            if child.status.cost and child.status.cost.accrued_usd:
                known[child.metadata.uid] = Decimal(child.status.cost.accrued_usd)
        return known

    @property
    def spent(self) -> Decimal:
        return sum(self.spent_by_job.values(), Decimal(0))

    def left(self, child: TrainingJob | None = None) -> Decimal | None:
        """Of the budget, for one TrainingJob: what the others have not spent. None without a budget."""
        whole = self.job.spec.cost.budget
        if whole is None:
            return None
        own = self.spent_by_job.get(child.metadata.uid, Decimal(0)) if child else Decimal(0)
        return Decimal(whole.max_usd) - (self.spent - own)

    def account(self, source_usd: str | None) -> None:
        """What the job has cost, into its status."""
        costs = [child.status.cost for child in self.seen.children.values() if child.status.cost]
        rates = [Decimal(cost.hourly_rate_usd) for cost in costs if cost.hourly_rate_usd]
        sources = sorted({cost.price_source for cost in costs if cost.price_source})
        by_job = self.spent_by_job
        old, whole = self.job.status.cost or CompressionCost(), self.job.spec.cost.budget
        over = plain(self.spent / Decimal(whole.max_usd)) if whole and by_job and Decimal(whole.max_usd) else None
        found = CompressionCost(
            accrued_usd=f"{self.spent:f}" if by_job else None,
            hourly_rate_usd=f"{sum(rates, Decimal(0)):f}" if rates else None,
            source_usd=source_usd or old.source_usd,
            budget_used_ratio=over,
            price_source="; ".join(sources)[:512] or old.price_source,
            by_job={uid: f"{usd:f}" for uid, usd in by_job.items()},
        )
        if found != CompressionCost():
            self.set(cost=found)

    def suspend(self, children: list[TrainingJob], *, suspended: bool) -> None:
        for child in children:
            if child.spec.suspend != suspended:
                self.actions.append(PatchChild(child.metadata.name, child.metadata.uid, {"suspend": suspended}))

    def keep_within_budget(self, child: TrainingJob) -> None:
        """A running TrainingJob's budget follows the job's, which may be changed at any time."""
        wanted = budget(self.job, self.left(child))
        has = child.spec.cost.budget
        now = has.wire() if has else None
        if now != wanted:
            self.actions.append(PatchChild(child.metadata.name, child.metadata.uid, {"cost": {"budget": wanted}}))

    def delete(self, children: list[TrainingJob]) -> None:
        self.actions += [DeleteChild(child.metadata.name, child.metadata.uid) for child in children]

    def forget(self, children: list[TrainingJob]) -> None:
        """As if they were not there any more."""
        names = {child.metadata.name for child in children}
        left = {name: child for name, child in self.seen.children.items() if name not in names}
        self.seen = replace(self.seen, children=left)

    def waiting(self, reason: str, message: str, phase: Phase = Phase.PENDING) -> None:
        for type_ in (c.RUNNING, c.READY):
            self.condition(type_, False, reason, message)
        self.say(phase, message)

    def plan(self) -> CompressionPlan:
        return CompressionPlan(self.status, tuple(self.actions), self.wake_at)
