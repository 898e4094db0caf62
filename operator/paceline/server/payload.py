"""A progress report on the wire: what the Kubeflow callback of transformers sends, and our trainer's model."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import datetime
from typing import Annotated

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from paceline.api.status import CheckpointStatus, Metric, Model
from paceline.plan.observed import Report, Usage

# Metrics that have a field of their own in the status.
_STEP, _TOTAL, _EPOCH, _RATE = "current_step", "total_steps", "current_epoch", "samples_per_second"

# Wire names are camelCase, as in Kubeflow's TrainerStatus.
_WIRE = ConfigDict(extra="ignore", populate_by_name=True)
# What an integer of the API holds; and seconds, of thirty years.
_LARGEST, _LONGEST = 2**63 - 1, 1e9

Seconds = Annotated[float, Field(ge=0, le=_LONGEST, allow_inf_nan=False)]
Ratio = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]


class WireMetric(BaseModel):
    name: Annotated[str, Field(min_length=1, max_length=128)]
    value: Annotated[str, Field(max_length=64)]


class WireModel(BaseModel):
    path: str | None = Field(default=None, max_length=1024)
    format: str | None = Field(default=None, max_length=64)
    sha256: str | None = Field(default=None, pattern="^[0-9a-f]{64}$")
    metrics: list[WireMetric] = Field(default=[], max_length=64)
    environment: dict[Annotated[str, Field(max_length=64)], Annotated[str, Field(max_length=256)]] = Field(
        default={}, max_length=16
    )


class WireCheckpoint(BaseModel):
    model_config = ConfigDict(extra="ignore", alias_generator=to_camel)

    step: int | None = Field(default=None, ge=0)
    time: datetime | None = None
    size_bytes: int | None = Field(default=None, ge=0)
    path: str | None = Field(default=None, max_length=1024)
    verified: bool | None = None
    resumed_from_step: int | None = Field(default=None, ge=0)
    save_seconds: Seconds | None = None
    restore_seconds: Seconds | None = None
    error: str | None = Field(default=None, max_length=1024)


class WireUsage(BaseModel):
    model_config = ConfigDict(extra="ignore", alias_generator=to_camel)

    utilization: Ratio | None = None
    of: str = Field(default="", max_length=128)
    mfu: Ratio | None = None
    samples: int | None = Field(default=None, ge=0, le=_LARGEST)
    tokens: int | None = Field(default=None, ge=0, le=_LARGEST)
    since: AwareDatetime | None = None
    evaluation_seconds: Seconds | None = None
    checkpoint_seconds: Seconds | None = None


class TrainerStatus(BaseModel):
    model_config = _WIRE

    # What the program does; of a word that is not known here nothing follows.
    activity: str = Field(default="", max_length=64)
    percent: float | None = Field(default=None, alias="progressPercentage", ge=0, le=100)
    eta_seconds: int | None = Field(default=None, alias="estimatedRemainingSeconds", ge=0, le=_LARGEST)
    metrics: list[WireMetric] = Field(default=[], max_length=64)
    updated: datetime | None = Field(default=None, alias="lastUpdatedTime")
    model: WireModel | None = None
    checkpoint: WireCheckpoint | None = None
    usage: WireUsage | None = None
    attempt: int | None = Field(default=None, ge=0)
    restart_count: int = Field(default=0, alias="restartCount", ge=0)


class Payload(BaseModel):
    """The body of a report. pydantic.ValidationError names the field that is wrong."""

    model_config = _WIRE

    status: TrainerStatus = Field(alias="trainerStatus")


def to_report(payload: Payload, before: Report | None, now: float) -> Report:
    """The report, received at Unix time ``now``; what a final report leaves out is kept from the one before."""
    sent = payload.status
    figures = {m.name: m.value for m in sent.metrics}
    step, total = _integer(figures.pop(_STEP, None)), _integer(figures.pop(_TOTAL, None))
    epoch, rate = figures.pop(_EPOCH, None), figures.pop(_RATE, None)
    if before is not None:
        total = before.total_steps if total is None else total
        step = before.step if step is None else step
        epoch, rate = epoch or before.epoch, rate or before.samples_per_second
    if sent.percent == 100 and total is not None:
        step = total
    percent, eta = sent.percent, sent.eta_seconds
    if sent.activity == "loading" and before is not None:
        # A process that has just been started again knows nothing yet of what the ones before it did.
        percent, eta = before.percent, before.eta_seconds
    if step is not None and total and percent is not None and int(percent) <= 100 * step / total < percent + 1:
        percent = 100 * step / total  # the callback sends whole percents; the steps know better
    elif percent is not None and before is not None and before.percent is not None and int(before.percent) == percent:
        percent = before.percent  # no less than it was: recipes say 99 until all is evaluated and saved
    metrics = tuple(Metric(name=name, value=value) for name, value in figures.items())
    return Report(
        time=now,
        percent=percent,
        step=step,
        total_steps=total,
        epoch=epoch,
        eta_seconds=eta,
        samples_per_second=rate,
        metrics=metrics or (before.metrics if before else ()),
        model=_model(sent.model) or (before.model if before else None),
        checkpoint=_checkpoint(sent.checkpoint) or (before.checkpoint if before else None),
        attempt=sent.attempt,
        restart_count=sent.restart_count,
        usage=_usage(sent.usage, before.usage if before else None, now),
    )


def _usage(sent: WireUsage | None, before: Usage | None, now: float) -> Usage | None:
    """Counts and sums hold until others are told; how much of the devices is used holds for its moment alone."""
    kept = Usage() if before is None else replace(before, utilization=None, of="", mfu=None)
    told = {} if sent is None else sent.model_dump(exclude_none=True)
    if "since" in told:
        # Of a pod whose clock is ahead, unknown until that time has come: later processes would look older than its own, and a
        # time that moved with each report would be one of a new process each.
        told["since"] = since if (since := told["since"].timestamp()) <= now else None
    return None if before is None and not told else replace(kept, **told)


def _checkpoint(sent: WireCheckpoint | None) -> CheckpointStatus | None:
    """Only what was sent is set; a save that went well says that no error is left."""
    if sent is None:
        return None
    told = sent.model_dump(exclude_none=True)
    if "step" in told:
        told = {"last_step": told.pop("step"), "error": None} | told
    told |= {name: f"{told[name]:.2f}" for name in ("save_seconds", "restore_seconds") if name in told}
    return CheckpointStatus(**told)


def _model(sent: WireModel | None) -> Model | None:
    if sent is None:
        return None
    metrics = [Metric(name=m.name, value=m.value) for m in sent.metrics]
    return Model(
        path=sent.path,
        format=sent.format,
        sha256=sent.sha256,
        metrics=metrics or None,
        environment=sent.environment or None,
    )


def _integer(text: str | None) -> int | None:
    try:
        number = float(text) if text is not None else math.nan
    except ValueError:
        return None
    return int(number) if math.isfinite(number) else None
