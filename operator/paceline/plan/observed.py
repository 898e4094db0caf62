"""What the operator has seen, as small records: a pod kept as a whole dict costs 23 KB, as one of these about 1 KB."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from paceline.api.status import CheckpointStatus, Metric, Model
from paceline.cost.lookup import Amounts, Host
from paceline.cost.prices import Machine

Role = Literal["worker", "rendezvous"]
PodPhase = Literal["Pending", "Running", "Succeeded", "Failed", "Unknown"]


@dataclass(frozen=True, slots=True)
class Container:
    """State of the training container. Times are Unix seconds."""

    running_since: float | None = None
    waiting_reason: str = ""
    waiting_message: str = ""
    exit_code: int | None = None
    finished_at: float | None = None
    reason: str = ""
    message: str = ""
    # When the run before this one ended, where the kubelet restarted it.
    died_at: float | None = None

    @property
    def succeeded(self) -> bool:
        return self.exit_code == 0

    @property
    def failed(self) -> bool:
        return self.exit_code is not None and self.exit_code != 0


@dataclass(frozen=True, slots=True)
class PodRecord:
    """A pod of a job. Times are Unix seconds."""

    namespace: str
    name: str
    uid: str
    resource_version: int
    job_name: str
    job_uid: str
    attempt: int
    role: Role
    index: int
    phase: PodPhase
    created_at: float
    node: str = ""
    deleting: bool = False
    scheduled_at: float | None = None
    unschedulable: str = ""
    reason: str = ""
    message: str = ""
    # Reason and message of the pod's DisruptionTarget condition: EvictionByEvictionAPI, PreemptionByScheduler …
    disruption: str = ""
    disruption_message: str = ""
    # 0 for the first pod of an index in an attempt, n for its n-th replacement.
    replacement: int = 0
    container: Container = field(default=Container())
    # A container other than the training one still runs.
    sidecars_running: bool = False
    # What it reserves of its node, and when its last container ended (None: one still runs, or none has begun).
    asks: Amounts = field(default=Amounts())
    ended_at: float | None = None

    @property
    def ended(self) -> bool:
        """Nothing of it runs any more. Not by its phase: the kubelet tells of ended containers first."""
        return (self.succeeded or self.failed) and not self.sidecars_running

    @property
    def succeeded(self) -> bool:
        """The training container ended well; sidecars never keep a job from ending."""
        return self.container.succeeded or (self.phase == "Succeeded" and self.container.exit_code is None)

    @property
    def failed(self) -> bool:
        """The training container failed, or the pod as a whole (evicted, refused by its node)."""
        return self.container.failed or (self.phase == "Failed" and not self.container.succeeded)

    @property
    def running(self) -> bool:
        return not self.deleting and self.container.running_since is not None and self.container.exit_code is None


@dataclass(frozen=True, slots=True)
class NodeRecord:
    """A node of the cluster."""

    name: str
    resource_version: int
    ready: bool
    unschedulable: bool
    # When ready last changed, Unix seconds.
    ready_since: float = 0.0
    # Keys of its NoSchedule and NoExecute taints.
    taints: tuple[str, ...] = ()
    # True conditions beside Ready, as "Type: message": MemoryPressure, DiskPressure, and what a problem detector adds.
    troubles: tuple[str, ...] = ()
    # What its price follows from.
    host: Host = field(default=Host())


@dataclass(frozen=True, slots=True)
class Usage:
    """What the program says of the devices that it has; None is unknown."""

    # 0 to 1, and in words what it is a share of.
    utilization: float | None = None
    of: str = ""
    mfu: float | None = None
    samples: int | None = None
    tokens: int | None = None
    # Spent evaluating, and waiting for checkpoints, since its process began: at ``since``, Unix seconds.
    evaluation_seconds: float | None = None
    checkpoint_seconds: float | None = None
    since: float | None = None


@dataclass(frozen=True, slots=True)
class Measured:
    """A job's utilization by somebody who measures it (Prometheus): 0 to 1, the series' name, Unix seconds."""

    utilization: float
    source: str
    time: float


@dataclass(frozen=True, slots=True)
class Report:
    """The newest progress that the training program has reported. Time is Unix seconds."""

    time: float
    percent: float | None = None
    step: int | None = None
    total_steps: int | None = None
    epoch: str | None = None
    eta_seconds: int | None = None
    samples_per_second: str | None = None
    metrics: tuple[Metric, ...] = ()
    model: Model | None = None
    checkpoint: CheckpointStatus | None = None
    # torchrun's count of restarts in place, and the attempt that the report is of.
    restart_count: int = 0
    attempt: int | None = None
    usage: Usage | None = None


@dataclass(frozen=True, slots=True)
class Observed:
    """One job's surroundings, from the caches alone."""

    pods: Sequence[PodRecord] = ()
    # The nodes that the pods are on, by name; a node that is gone from the API is absent.
    nodes: Mapping[str, NodeRecord] = field(default_factory=dict)
    # Ends of the logs of failed pods, by pod uid, as far as they have been read.
    logs: Mapping[str, str] = field(default_factory=dict)
    report: Report | None = None
    # Since when reports are heard at all (the operator's own start), Unix seconds.
    watching_since: float = 0.0
    # Why the API server refused a pod of this job, if it did: the template is the user's, and so is its mistake.
    refused: str = ""
    # Workers that are gone from the API, as they were last: the newest of each index, of the newest attempt among them.
    gone: Sequence[PodRecord] = ()
    # Of pods that do not start, by pod uid: when their events were read (Unix seconds), and the newest warning among them.
    warnings: Mapping[str, tuple[float, str]] = field(default_factory=dict)
    # Bound pods of any role that have left the API since the status was written last, with their end.
    departed: Sequence[PodRecord] = ()
    measured: Measured | None = None
    # How many jobs report progress now, this one or not.
    reporting: int = 0
    # Of how many jobs pods are there, of this one or not.
    jobs: int = 0
    # Price books by name.
    books: Mapping[str, Sequence[Machine]] = field(default_factory=dict)
