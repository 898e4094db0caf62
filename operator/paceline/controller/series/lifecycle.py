"""What the job is and where it stands: info, phase, times, size, restarts."""

from __future__ import annotations

from collections.abc import Iterator

from paceline.api.trainingjob import TrainingJob
from paceline.controller.series.sample import Sample, counter, gauge, since_written

INFO = gauge(
    "paceline_job_info",
    "1; what the job runs on and who pays, empty where it is unknown.",
    "gpu_model", "capacity_type", "price_source", "team",
)  # fmt: skip
PHASE = gauge("paceline_job_phase", "1 for the phase that the job is in.", "phase")
CREATED = gauge("paceline_job_created_timestamp_seconds", "When the job was created.")
STARTED = gauge("paceline_job_started_timestamp_seconds", "When the first worker ran.")
COMPLETED = gauge("paceline_job_completed_timestamp_seconds", "When the job ended.")
WORLD_SIZE = gauge("paceline_job_world_size", "Workers whose training container runs.")
QUEUE_WAIT = gauge("paceline_job_queue_wait_seconds", "Time that pods have waited for nodes.")
RESTARTS = counter("paceline_job_restarts_total", "Restarts by rung of the ladder.", "reason")

FAMILIES = (INFO, PHASE, CREATED, STARTED, COMPLETED, WORLD_SIZE, QUEUE_WAIT, RESTARTS)


def samples(job: TrainingJob, now: float) -> Iterator[Sample]:
    status = job.status
    cost = status.cost
    model, capacity = (cost.gpu_model or "", cost.capacity_type or "") if cost else ("", "")
    source = price_source(cost.price_source if cost else None)
    yield Sample(INFO, 1, (model, capacity, source, job.spec.cost.team or ""))
    if status.phase is not None:
        yield Sample(PHASE, 1, (str(status.phase),))
    yield Sample(CREATED, job.metadata.creation_timestamp.timestamp())
    if status.start_time is not None:
        yield Sample(STARTED, status.start_time.timestamp())
    if status.completion_time is not None:
        yield Sample(COMPLETED, status.completion_time.timestamp())
    if status.nodes is not None:
        yield Sample(WORLD_SIZE, status.nodes.running)
    if status.goodput is not None:
        waits = since_written(job, now) if status.goodput.part == "queued" else 0.0
        yield Sample(QUEUE_WAIT, float(status.goodput.seconds.get("queued", 0)) + waits)
    if status.restarts is not None:
        counts = status.restarts
        for reason, count in (
            ("process", counts.in_place),
            ("pod", counts.pod),
            ("job", counts.job),
            ("infrastructure", counts.infrastructure),
        ):
            yield Sample(RESTARTS, count, (reason,))


def price_source(source: str | None) -> str:
    """Of cost.priceSource ("BOOK: MACHINE, HOW, SOURCE", or an annotation's name): the book's name, or annotation."""
    if source is None:
        return ""
    return "annotation" if source.startswith("annotation ") else source.partition(":")[0]
