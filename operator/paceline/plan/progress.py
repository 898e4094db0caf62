"""The reported progress in the job's status, not more often than people look."""

from __future__ import annotations

from paceline.api.base import at
from paceline.api.status import CheckpointStatus, ProgressStatus, TrainingJobStatus
from paceline.plan.observed import Report


def merge(
    status: TrainingJobStatus, report: Report | None, now: float, *, every: float, final: bool
) -> tuple[TrainingJobStatus, float | None]:
    """The status with the report in it, and when to look again if it was too early for that (Unix seconds).

    ``every``: least seconds between two writes for progress alone.
    """
    if report is None:
        return status, None
    last = status.progress.last_update_time if status.progress else None
    if last is not None:
        # The status has whole seconds: within this one it may be the report that is in it, or a later one, which counts
        # at the end: the save on the way out is often told in the second of the last step.
        if report.time < last.timestamp() + (0 if final else 1):
            return status, None
        due = last.timestamp() + every
        if now < due and not final:
            return status, due
    update: dict[str, object] = {"progress": _progress(report)}
    if report.model:
        update["model"] = report.model
    if report.checkpoint:
        known = status.checkpoint or CheckpointStatus()
        told = {name: getattr(report.checkpoint, name) for name in report.checkpoint.model_fields_set}
        update["checkpoint"] = known.model_copy(update=told)
    return status.model_copy(update=update), None


def _progress(report: Report) -> ProgressStatus:
    percent = report.percent
    if percent is None and report.step is not None and report.total_steps:
        percent = 100 * report.step / report.total_steps
    return ProgressStatus(
        percent=None if percent is None else f"{min(max(percent, 0), 100):.1f}",
        step=report.step,
        total_steps=report.total_steps,
        epoch=report.epoch,
        eta_seconds=report.eta_seconds,
        eta=None if report.eta_seconds is None else duration(report.eta_seconds),
        samples_per_second=report.samples_per_second,
        samples=report.usage.samples if report.usage else None,
        tokens=report.usage.tokens if report.usage else None,
        metrics=list(report.metrics) or None,
        last_update_time=at(report.time),
    )


def duration(seconds: int) -> str:
    """As kubectl prints ages, two units at most: 45s, 12m30s, 3h5m, 2d4h."""
    minutes, s = divmod(max(seconds, 0), 60)
    hours, m = divmod(minutes, 60)
    days, h = divmod(hours, 24)
    for big, small in (((days, "d"), (h, "h")), ((hours, "h"), (m, "m")), ((minutes, "m"), (s, "s"))):
        if big[0]:
            return f"{big[0]}{big[1]}" + (f"{small[0]}{small[1]}" if small[0] else "")
    return f"{s}s"
