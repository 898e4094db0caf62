"""Silence: a program that reported progress before, and does no more although all its pods run."""

from __future__ import annotations

from paceline.api import conditions as c
from paceline.api.trainingjob import TrainingJob
from paceline.plan.observed import Observed


def stalls_at(job: TrainingJob, seen: Observed) -> float | None:
    """Unix time from which the silence is too long. None where there is nothing to go by: the program never reported.

    The clock starts anew with every start of the gang, and with the operator: it cannot tell what it did not hear.
    """
    progress = job.status.progress
    if seen.report is None and (progress is None or progress.last_update_time is None):
        return None
    running = c.find(job.status.conditions, c.RUNNING)
    if running is None or running.status != "True":
        return None
    heard = [running.last_transition_time.timestamp(), seen.watching_since]
    if progress is not None and progress.last_update_time is not None:
        heard.append(progress.last_update_time.timestamp())
    if seen.report is not None:
        heard.append(seen.report.time)
    return max(heard) + job.spec.deadlines.stalled_seconds
