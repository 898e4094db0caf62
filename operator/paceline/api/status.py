"""``TrainingJob.status``: what the operator has seen and decided. Written by the operator alone."""

from __future__ import annotations

from enum import StrEnum
from typing import Literal

from pydantic import Field

from paceline.api.base import ApiModel, Time
from paceline.api.money import BudgetStatus, CostStatus, GoodputStatus, StopStatus, Utilization


class Phase(StrEnum):
    """One word for `kubectl get`; derived from the conditions, never decided upon."""

    PENDING = "Pending"
    QUEUED = "Queued"
    STARTING = "Starting"
    RUNNING = "Running"
    RECOVERING = "Recovering"
    SUSPENDING = "Suspending"
    SUSPENDED = "Suspended"
    SUCCEEDED = "Succeeded"
    FAILED = "Failed"


class Cause(StrEnum):
    """Why something failed. plan/causes.py says for each whether it counts against the user, and gives a hint."""

    CODE_ERROR = "CodeError"
    OUT_OF_MEMORY = "OutOfMemory"
    COLLECTIVE_TIMEOUT = "CollectiveTimeout"
    DEVICE_ERROR = "DeviceError"
    NODE_LOST = "NodeLost"
    NODE_DRAINED = "NodeDrained"
    PREEMPTED = "Preempted"
    EVICTED = "Evicted"
    POD_DELETED = "PodDeleted"
    IMAGE_ERROR = "ImageError"
    CONFIG_ERROR = "ConfigError"
    UNSCHEDULABLE = "Unschedulable"
    STARTUP_TIMEOUT = "StartupTimeout"
    STALLED = "Stalled"
    RENDEZVOUS_LOST = "RendezvousLost"
    DEADLINE_EXCEEDED = "DeadlineExceeded"
    BUDGET_EXCEEDED = "BudgetExceeded"
    UNKNOWN = "Unknown"


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

    desired: int = Field(
        description="Workers that the gang is to have now: an elastic one may have fewer than asked for."
    )
    requested: int = Field(default=0, description="spec.nodes that it was last sized for.")
    running: int = Field(description="Workers whose training container runs.")
    min: int | None = Field(default=None, description="Fewest workers that an elastic gang trains with.")
    max: int | None = Field(default=None, description="Most workers that an elastic gang may have.")
    resize_time: Time | None = Field(default=None, description="When it last changed its size by itself, or tried to.")
    summary: str = Field(max_length=32, description="running/requested, for kubectl.")


class RestartCounts(ApiModel):
    """How often something was started again, by rung of the ladder."""

    in_place: int = Field(
        default=0, description="Restarts of processes by torchrun within their pods, as the program reports."
    )
    pod: int = Field(default=0, description="Pods replaced while the rest of the gang stayed.")
    job: int = Field(default=0, description="New attempts of the whole gang after failures of the user's own code.")
    infrastructure: int = Field(
        default=0, description="Pods replaced and attempts begun for causes that are not the user's."
    )
    in_place_this_attempt: int = Field(default=0, description="Of inPlace, those of the current attempt.")
    since_window: int = Field(
        default=0, description="Failures of the user's own code within restarts.windowSeconds, against restarts.max."
    )
    window: list[Time] | None = Field(default=None, max_length=101, description="When those were.")
    total: int = Field(
        default=0, description="Restarts in place, pods replaced and attempts begun after failures, for kubectl."
    )


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
    samples: int | None = Field(default=None, description="Samples trained on, where the program says.")
    tokens: int | None = Field(default=None, description="Tokens trained on, where the program says.")
    metrics: list[Metric] | None = Field(default=None, max_length=64, description="Further figures.")
    last_update_time: Time | None = Field(default=None, description="When the program last reported.")


class Failure(ApiModel):
    """What went wrong, where first."""

    cause: Cause = Field(description="Class of the failure.")
    rank: int | None = Field(default=None, description="Rank of the process that failed first, where known.")
    pod: str | None = Field(default=None, max_length=253, description="Pod that failed first.")
    node: str | None = Field(default=None, max_length=253, description="Node that it ran on.")
    device: str | None = Field(default=None, max_length=128, description="Device that failed, e.g. GPU 3.")
    exit_code: int | None = Field(
        default=None, description="Exit code of the process that failed, else of its container; 128 + n for signal n."
    )
    message: str = Field(max_length=4096, description="What the program, pod, node or event said.")
    traceback: str | None = Field(default=None, max_length=4096, description="End of the Python traceback.")
    hint: str | None = Field(default=None, max_length=1024, description="What to look at or to change.")
    attempt: int | None = Field(default=None, description="Attempt that it happened in.")
    step: int | None = Field(default=None, description="Last step reported before it.")
    cost_usd: str | None = Field(
        default=None,
        alias="costUSD",
        max_length=32,
        description="What it cost: steps taken back and the time to the first step after it; absent while no price is known.",
    )
    time: Time = Field(description="When it failed.")


class PastFailure(ApiModel):
    """A failure in its shortest form."""

    cause: Cause = Field(description="Class of the failure.")
    pod: str | None = Field(default=None, max_length=253, description="Pod that failed first.")
    attempt: int | None = Field(default=None, description="Attempt that it happened in.")
    step: int | None = Field(default=None, description="Last step reported before it.")
    message: str = Field(max_length=256, description="First line of its message.")
    time: Time = Field(description="When it failed.")


class CheckpointStatus(ApiModel):
    """The newest checkpoint, as the program reports it."""

    last_step: int | None = Field(default=None, description="Step that it holds.")
    time: Time | None = Field(default=None, description="When it was complete.")
    size_bytes: int | None = Field(default=None, description="Its size.")
    path: str | None = Field(default=None, max_length=1024, description="Where it lies.")
    verified: bool | None = Field(
        default=None, description="Whether its files were read back and agreed with their hashes."
    )
    resumed_from_step: int | None = Field(default=None, description="Step that the running attempt went on from.")
    save_seconds: str | None = Field(
        default=None, max_length=32, description="How long the last save took, of which training waits for a part."
    )
    restore_seconds: str | None = Field(default=None, max_length=32, description="How long the last restore took.")
    error: str | None = Field(
        default=None, max_length=1024, description="Why the last save failed, until one succeeds."
    )


class Model(ApiModel):
    """What the job left behind, when it says so."""

    path: str | None = Field(default=None, max_length=1024, description="Where the model lies.")
    format: str | None = Field(default=None, max_length=64, description="File format.")
    sha256: str | None = Field(default=None, max_length=64, description="Hash of the weights file.")
    metrics: list[Metric] | None = Field(default=None, max_length=64, description="Evaluation of the final model.")
    environment: dict[str, str] | None = Field(
        default=None, max_length=16, description="What it was measured with, where it was."
    )


class JobStatus(ApiModel):
    """What all kinds say."""

    phase: Phase | None = Field(default=None, description="One word for people; programs read the conditions.")
    message: str | None = Field(default=None, max_length=4096, description="What the job waits for or why it ended.")
    observed_generation: int | None = Field(
        default=None, description="Generation of the spec that this status answers."
    )


class TrainingJobStatus(JobStatus):
    """What the operator has seen and decided."""

    conditions: list[Condition] = Field(
        default=[],
        max_length=16,
        description="Complete, Failed, Suspended, Running, Recovering, Stalled, Degraded, PriceUnknown, BudgetAtRisk, "
        "BudgetExceeded, Idle, Ready.",
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
    checkpoint: CheckpointStatus | None = Field(default=None, description="The newest checkpoint.")
    last_failure: Failure | None = Field(default=None, description="The last failure.")
    failures: list[PastFailure] | None = Field(default=None, max_length=10, description="The last ten, newest last.")
    model: Model | None = Field(default=None, description="What the job left behind.")
    cost: CostStatus | None = Field(default=None, description="What the job costs.")
    budget: BudgetStatus | None = Field(default=None, description="Why the budget keeps the job suspended, if it does.")
    stop_when: StopStatus | None = Field(default=None, description="How spec.cost.stopWhen stands.")
    goodput: GoodputStatus | None = Field(default=None, description="Where its time and money went.")
    utilization: Utilization | None = Field(
        default=None, description="How much of the devices is used; absent while nothing tells."
    )
