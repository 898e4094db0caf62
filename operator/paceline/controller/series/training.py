"""How far the training is, as the program reports it, and how its checkpoints fare."""

from __future__ import annotations

from collections.abc import Iterator

from paceline.api.trainingjob import TrainingJob
from paceline.controller.series.sample import Sample, counter, gauge, number

SAMPLES = counter("paceline_job_samples_total", "Samples trained on.")
TOKENS = counter("paceline_job_tokens_total", "Tokens trained on.")
PROGRESS = gauge("paceline_job_progress_ratio", "Share of all steps that is done, 0 to 1.")
ETA = gauge("paceline_job_eta_seconds", "Time to the end, as the program estimates it.")
LAST_PROGRESS = gauge("paceline_job_last_progress_timestamp_seconds", "When the program last reported.")
CHECKPOINT_AGE = gauge("paceline_job_checkpoint_age_seconds", "Time since the newest checkpoint was complete.")
CHECKPOINT = gauge("paceline_job_checkpoint_seconds", "How long the last save and the last restore took.", "op")

FAMILIES = (SAMPLES, TOKENS, PROGRESS, ETA, LAST_PROGRESS, CHECKPOINT_AGE, CHECKPOINT)


def samples(job: TrainingJob, now: float) -> Iterator[Sample]:
    progress, ended = job.status.progress, job.status.completion_time is not None
    if progress is not None:
        percent = number(progress.percent)
        known = (
            (SAMPLES, progress.samples),
            (TOKENS, progress.tokens),
            (PROGRESS, None if percent is None else percent / 100),
            (ETA, None if ended else progress.eta_seconds),
            (LAST_PROGRESS, progress.last_update_time.timestamp() if progress.last_update_time else None),
        )
        yield from (Sample(family, value) for family, value in known if value is not None)
    checkpoint = job.status.checkpoint
    if checkpoint is not None:
        # Of a job that has ended nothing can be lost any more.
        if checkpoint.time is not None and not ended:
            yield Sample(CHECKPOINT_AGE, max(0.0, now - checkpoint.time.timestamp()))
        for op, seconds in (("save", number(checkpoint.save_seconds)), ("restore", number(checkpoint.restore_seconds))):
            if seconds is not None:
                yield Sample(CHECKPOINT, seconds, (op,))
