"""How well devices and time are used."""

from __future__ import annotations

from collections.abc import Iterator

from paceline.api.trainingjob import TrainingJob
from paceline.controller.series.sample import Sample, counter, gauge, number, since_written
from paceline.cost.goodput import PARTS, PRODUCTIVE
from paceline.plan.books import spread

GPU_SECONDS = counter(
    "paceline_job_gpu_seconds_total",
    "Devices times seconds: reserved, and in which they computed while that was known.",
    "state",
)
UTILIZATION = gauge("paceline_job_gpu_utilization_ratio", "Share of the devices' time in which they compute, 0 to 1.")
MFU = gauge("paceline_job_mfu_ratio", "Model FLOPs utilization, 0 to 1.")
GOODPUT = gauge("paceline_job_goodput_ratio", "Productive time over all time but queued and suspended.")
BADPUT = counter("paceline_job_badput_seconds_total", "Time that trained nothing, by what it went to.", "reason")

FAMILIES = (GPU_SECONDS, UTILIZATION, MFU, GOODPUT, BADPUT)

# A figure of the use of devices that is older says nothing about now: two writes of a job that only costs, and no less.
FRESH_SECONDS = 600


def samples(job: TrainingJob, now: float) -> Iterator[Sample]:
    yield from _devices(job, now)
    yield from _time(job, now)


def _devices(job: TrainingJob, now: float) -> Iterator[Sample]:
    cost, used = job.status.cost, job.status.utilization
    hours = number(cost.gpu_hours) if cost else None
    if cost is None or hours is None:
        return
    there = [stay for stay in cost.ledger.stays if stay.end is None and stay.gpus]
    if not hours and not there:
        return  # a job without devices
    running = sum(stay.gpus * len(spread(stay.pods)) for stay in there)
    yield Sample(GPU_SECONDS, hours * 3600 + running * since_written(job, now), ("allocated",))
    if used is None:
        return
    active = number(used.active_gpu_seconds)
    if active is not None:
        yield Sample(GPU_SECONDS, active, ("active",))
    if job.status.completion_time is not None or now > used.as_of.timestamp() + FRESH_SECONDS:
        return
    for family, figure in ((UTILIZATION, number(used.ratio)), (MFU, number(used.mfu_ratio))):
        if figure is not None:
            yield Sample(family, figure)


def _time(job: TrainingJob, now: float) -> Iterator[Sample]:
    goodput = job.status.goodput
    if goodput is None:
        return
    ratio = number(goodput.ratio)
    if ratio is not None:
        yield Sample(GOODPUT, ratio)
    # Every part from the start: increase() does not see the first value of a counter that appears.
    for part in PARTS:
        if part not in PRODUCTIVE:
            goes_on = since_written(job, now) if part == goodput.part else 0.0
            yield Sample(BADPUT, float(goodput.seconds.get(part, 0)) + goes_on, (part,))
