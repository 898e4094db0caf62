"""``CompressionJob.status``: what each stage came to, and the verdict. Figures are decimal strings."""

from __future__ import annotations

from enum import StrEnum

from pydantic import Field

from paceline.api.base import ApiModel, Time
from paceline.api.status import Condition, Failure, JobStatus


class Verdict(StrEnum):
    """What came of it."""

    ACCEPTED = "Accepted"
    REGRESSION = "Regression"
    INFEASIBLE = "Infeasible"
    BUDGET_EXCEEDED = "BudgetExceeded"


def _figure(description: str) -> str | None:
    found: str | None = Field(default=None, max_length=32, description=description)
    return found


class GateResult(ApiModel):
    """A gate, and what was reached."""

    metric: str = Field(max_length=32, description="The metric.")
    goal: str = Field(max_length=16, description="maxDrop, minReduction, minValue or maxValue.")
    value: str = Field(max_length=26, description="What was asked for.")
    reached: str | None = _figure("What was reached, in the goal's own terms; absent: it was not measured.")
    passed: bool = Field(description="Whether that is enough.")


class Measured(ApiModel):
    """A model, as it was measured. Latencies in milliseconds of one call."""

    name: str = Field(max_length=32, description="The stage; source for what is compressed.")
    method: str = Field(default="", max_length=32, description="Its method.")
    trial: int = Field(default=1, description="Trial that it belongs to.")
    target: str = Field(default="", max_length=64, description="Its target in this trial.")
    path: str = Field(default="", max_length=1024, description="Folder of the model.")
    runtime: str = Field(default="", max_length=32, description="What ran it.")
    size_bytes: int | None = Field(default=None, description="Of the file that is served.")
    parameters: int | None = Field(default=None, description="Parameters.")
    macs: int | None = Field(default=None, description="Multiply-accumulates of one sample.")
    latency_p50: str | None = _figure("Median, ms.")
    latency_p95: str | None = _figure("95th percentile, ms.")
    latency_p99: str | None = _figure("99th percentile, ms.")
    latency_p50_spread: str | None = _figure("Interquartile range of the median over the rounds, ms.")
    throughput: str | None = _figure("Samples a second.")
    size_ratio: str | None = _figure("Size of the source in this format, over this one's.")
    speedup: str | None = _figure(
        "Median latency of the source in the same runtime, over this one's; below 1 is slower."
    )
    speedup_over_eager: str | None = _figure("The same against the source in eager PyTorch.")
    scores: dict[str, str] = Field(default={}, max_length=24, description="On the evaluation split.")
    standard_error: str | None = _figure("Of the accuracy.")
    samples: int | None = Field(default=None, description="Samples of the evaluation split.")
    gates: list[GateResult] = Field(default=[], max_length=16, description="Gates that were judged here.")
    cost_usd: str | None = Field(default=None, alias="costUSD", max_length=32, description="What the stage cost.")
    seconds: int | None = Field(default=None, description="How long its pods ran.")


class Trial(ApiModel):
    """What one trial came to."""

    trial: int = Field(description="From 1.")
    targets: dict[str, str] = Field(default={}, max_length=8, description="Target of each stage that has one.")
    passed: bool = Field(description="Whether all gates were met.")
    stage: str = Field(max_length=32, description="Last stage that was measured.")
    missed: list[str] = Field(default=[], max_length=16, description="Gates that were not met.")
    size_bytes: int | None = Field(default=None, description="Of its last stage.")
    latency_p50: str | None = _figure("Of its last stage, ms.")
    score: str | None = _figure("Of its last stage: the metric of the first score gate, else the accuracy.")


class ServingReport(ApiModel):
    """Dollars for a million requests, by the throughput that the served models reached."""

    usd_per_million_before: str | None = Field(default=None, max_length=32, description="Of the source.")
    usd_per_million_after: str | None = Field(default=None, max_length=32, description="Of the compressed model.")
    break_even_requests: str | None = _figure("After so many requests the compression has paid for itself.")
    break_even_days: str | None = _figure("The same in days, at requestsPerMonth.")
    usd_saved_per_month: str | None = Field(default=None, max_length=32, description="At requestsPerMonth.")
    requests_per_second_before: str | None = _figure("Served by the source.")
    requests_per_second_after: str | None = _figure("Served by the compressed model.")
    usd_per_hour: str | None = _figure("Price of what serves.")
    assumptions: list[str] = Field(default=[], max_length=8, description="What this was reckoned with.")


class Report(ApiModel):
    """Of the newest trial, or of the one that was taken."""

    baseline: Measured | None = Field(default=None, description="The source.")
    stages: list[Measured] = Field(default=[], max_length=8, description="By stage.")
    candidate: str | None = Field(default=None, max_length=32, description="The stage that was taken.")
    trials: list[Trial] = Field(default=[], max_length=10, description="All trials.")
    environment: dict[str, str] = Field(default={}, max_length=16, description="What was measured with.")
    serving: ServingReport | None = Field(default=None, description="Dollars.")


class Artifact(ApiModel):
    """What the job leaves."""

    path: str = Field(max_length=1024, description="Its folder.")
    formats: list[str] = Field(default=[], max_length=4, description="What is in it.")
    sha256: str | None = Field(default=None, max_length=64, description="Hash of its main file.")


class CompressionCost(ApiModel):
    """All stages of all trials together."""

    accrued_usd: str | None = Field(
        default=None, alias="accruedUSD", max_length=32, description="Spent; absent while no price is known."
    )
    hourly_rate_usd: str | None = Field(
        default=None, alias="hourlyRateUSD", max_length=32, description="What the pods that are there cost an hour."
    )
    source_usd: str | None = Field(
        default=None,
        alias="sourceUSD",
        max_length=32,
        description="What the source's training cost, beside accruedUSD.",
    )
    budget_used_ratio: str | None = _figure("accruedUSD over budget.maxUSD.")
    price_source: str | None = Field(default=None, max_length=512, description="Where the price is from.")
    # Kept of each, as a TrainingJob may be deleted: what it has cost is spent all the same.
    by_job: dict[str, str] = Field(
        default={}, max_length=256, description="accruedUSD of each TrainingJob, by its uid."
    )


class CompressionProgress(ApiModel):
    """How far it is."""

    percent: str | None = Field(default=None, max_length=16, description="Percent of the trial's steps.")
    training_job: str | None = Field(default=None, max_length=63, description="The TrainingJob that runs now.")
    asked_again: int = Field(default=0, description="How often it was made again, as its result was not heard.")


class Summary(ApiModel):
    """For kubectl."""

    size: str | None = _figure("Source : compressed.")
    speedup: str | None = _figure("In the same runtime.")
    score: str | None = _figure("Source > compressed.")


class CompressionJobStatus(JobStatus):
    """What the operator has seen and decided."""

    conditions: list[Condition] = Field(
        default=[],
        max_length=16,
        description="Complete, Failed, Suspended, Running, SourceReady, PriceUnknown, BudgetAtRisk, BudgetExceeded, Ready.",
        json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"]},
    )
    start_time: Time | None = Field(default=None, description="When the first stage began.")
    completion_time: Time | None = Field(default=None, description="When the job ended.")
    stage: str | None = Field(default=None, max_length=32, description="What runs now, or ran last.")
    trial: int | None = Field(default=None, description="The trial that it belongs to.")
    verdict: Verdict | None = Field(default=None, description="Accepted, Regression, Infeasible or BudgetExceeded.")
    progress: CompressionProgress | None = Field(default=None, description="How far it is.")
    last_failure: Failure | None = Field(default=None, description="The last failure of a stage.")
    report: Report | None = Field(default=None, description="What every stage came to.")
    artifact: Artifact | None = Field(default=None, description="What the job leaves.")
    cost: CompressionCost | None = Field(default=None, description="What the job costs.")
    summary: Summary | None = Field(default=None, description="For kubectl.")
