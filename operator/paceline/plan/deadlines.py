"""Deadlines: when a start has taken too long, when a job has been active too long, when an ended one may go."""

from __future__ import annotations

from collections.abc import Sequence

from paceline.api.trainingjob import TrainingJob
from paceline.plan.observed import PodRecord


def startup_ends_at(job: TrainingJob, workers: Sequence[PodRecord], wanted: int) -> float | None:
    """Unix time at which the start is too late. None while pods wait for a node: queueing is not the job's fault."""
    scheduled = [p.scheduled_at for p in workers if p.scheduled_at is not None]
    if len(scheduled) < wanted:
        return None
    return max(scheduled) + job.spec.deadlines.startup_seconds


def active_ends_at(job: TrainingJob, active_seconds: int, active_since: float | None) -> float | None:
    """Unix time at which the active time is used up. None while the job is not active or has no such deadline."""
    limit = job.spec.deadlines.active_seconds
    if limit is None or active_since is None:
        return None
    return active_since + limit - active_seconds


def expires_at(job: TrainingJob) -> float | None:
    """Unix time at which a finished job is to be deleted."""
    ttl, ended = job.spec.ttl_seconds_after_finished, job.status.completion_time
    return None if ttl is None or ended is None else ended.timestamp() + ttl
