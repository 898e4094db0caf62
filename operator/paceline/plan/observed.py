"""What the operator has seen, as small records: a pod kept as a whole dict costs 23 KB, as one of these about 1 KB."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from paceline.api.status import Metric, Model

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
    container: Container = field(default=Container())
    # A container other than the training one still runs.
    sidecars_running: bool = False

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


@dataclass(frozen=True, slots=True)
class Observed:
    """One job's surroundings, from the caches alone."""

    pods: Sequence[PodRecord] = ()
    unready_nodes: frozenset[str] = frozenset()
    report: Report | None = None
    # Why the API server refused a pod of this job, if it did: the template is the user's, and so is its mistake.
    refused: str = ""
