"""``TrainingJob.status``: what the operator has seen and decided. Written by the operator alone."""

from __future__ import annotations

from enum import StrEnum
from typing import Literal

from pydantic import Field

from paceline.api.base import ApiModel, Time


class Phase(StrEnum):
    """One word for `kubectl get`; derived from the conditions, never decided upon."""

    PENDING = "Pending"
    STARTING = "Starting"
    RUNNING = "Running"
    RECOVERING = "Recovering"
    SUSPENDING = "Suspending"
    SUSPENDED = "Suspended"
    SUCCEEDED = "Succeeded"
    FAILED = "Failed"


class Condition(ApiModel):
    """A Kubernetes condition (metav1.Condition)."""

    type: str = Field(max_length=64, description="Type of the condition.")
    status: Literal["True", "False", "Unknown"] = Field(description="Whether it holds.")
    observed_generation: int | None = Field(default=None, description="Generation of the spec that it was judged by.")
    last_transition_time: Time = Field(description="When status last changed.")
    reason: str = Field(max_length=128, description="One word for programs.")
    message: str = Field(max_length=4096, description="A sentence for people.")


class NodeCounts(ApiModel):
    """How large the gang is."""

    desired: int = Field(description="Workers that the current attempt is made of.")
    running: int = Field(description="Workers whose training container runs.")
    summary: str = Field(max_length=32, description="running/desired, for kubectl.")


class RestartCounts(ApiModel):
    """How often the gang was started again."""

    job: int = Field(default=0, description="Gang restarts after failures; each is a new attempt.")


class Metric(ApiModel):
    """A named figure from the training program."""

    name: str = Field(max_length=128, description="Name, as the program reports it.")
    value: str = Field(max_length=64, description="Value, as a decimal string.")


class ProgressStatus(ApiModel):
    """How far the training is, as it last reported."""

    percent: str | None = Field(default=None, max_length=16, description="Percent of all steps, as a decimal string.")
    step: int | None = Field(default=None, description="Steps done.")
    total_steps: int | None = Field(default=None, description="Steps in all.")
    epoch: str | None = Field(default=None, max_length=32, description="Epochs done, as a decimal string.")
    eta_seconds: int | None = Field(default=None, description="Estimated seconds to the end.")
    eta: str | None = Field(default=None, max_length=32, description="etaSeconds in words, for kubectl.")
    samples_per_second: str | None = Field(default=None, max_length=32, description="Throughput, as a decimal string.")
    metrics: list[Metric] | None = Field(default=None, max_length=64, description="Further figures.")
    last_update_time: Time | None = Field(default=None, description="When the program last reported.")


class Failure(ApiModel):
    """What went wrong, where first."""

    cause: str = Field(
        max_length=64, description="Class of the failure, e.g. CodeError, OutOfMemory, ImageError, NodeLost."
    )
    pod: str | None = Field(default=None, max_length=253, description="Pod that failed first.")
    node: str | None = Field(default=None, max_length=253, description="Node that it ran on.")
    exit_code: int | None = Field(default=None, description="Exit code of the training container.")
    message: str = Field(max_length=4096, description="Message of the pod, container or event, or the last log lines.")
    time: Time = Field(description="When it failed.")


class Model(ApiModel):
    """What the job left behind, when it says so."""

    path: str | None = Field(default=None, max_length=1024, description="Where the model lies.")
    format: str | None = Field(default=None, max_length=64, description="File format.")
    sha256: str | None = Field(default=None, max_length=64, description="Hash of the weights file.")
    metrics: list[Metric] | None = Field(default=None, max_length=64, description="Evaluation of the final model.")


class TrainingJobStatus(ApiModel):
    """What the operator has seen and decided."""

    phase: Phase | None = Field(default=None, description="One word for people; programs read the conditions.")
    message: str | None = Field(default=None, max_length=4096, description="What the job waits for or why it ended.")
    observed_generation: int | None = Field(
        default=None, description="Generation of the spec that this status answers."
    )
    conditions: list[Condition] = Field(
        default=[],
        max_length=16,
        description="Complete, Failed, Suspended, Running, Recovering, Ready.",
        json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"]},
    )
    start_time: Time | None = Field(default=None, description="When the first worker ran.")
    running_time: Time | None = Field(default=None, description="When the whole gang first ran.")
    completion_time: Time | None = Field(default=None, description="When the job ended.")
    active_seconds: int = Field(
        default=0, description="Active time of closed periods (before suspensions), for the deadline."
    )
    active_since: Time | None = Field(default=None, description="Start of the present active period.")
    attempt: int = Field(default=0, description="Gang generations so far.")
    nodes: NodeCounts | None = Field(default=None, description="Size of the gang.")
    selector: str | None = Field(
        default=None, max_length=256, description="Label selector of the workers, for the scale subresource."
    )
    restarts: RestartCounts | None = Field(default=None, description="How often the gang was started again.")
    restart_time: Time | None = Field(default=None, description="When the next attempt starts, while backing off.")
    progress: ProgressStatus | None = Field(default=None, description="How far the training is.")
    last_failure: Failure | None = Field(default=None, description="The last failure.")
    model: Model | None = Field(default=None, description="What the job left behind.")
