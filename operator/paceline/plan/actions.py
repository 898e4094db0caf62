"""What a plan asks for. The executor renders and sends it; every action may be repeated without harm."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from paceline.api.status import TrainingJobStatus


@dataclass(frozen=True, slots=True)
class CreateRendezvous:
    """The headless service, what guards the gang (network policy, disruption budget), and the store's pod."""

    # Nodes to keep away from where there are others.
    avoid: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class CreateWorker:
    index: int
    attempt: int
    # torchrun's (min, max) number of nodes.
    nnodes: tuple[int, int]
    # 0 for the first pod of an index in an attempt, n for its n-th replacement.
    replacement: int = 0
    # As the store.
    avoid: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class DeletePod:
    name: str
    uid: str
    # Seconds from SIGTERM to SIGKILL; None: what the pod asks for.
    grace_seconds: int | None = None


@dataclass(frozen=True, slots=True)
class ReadLog:
    """The end of a failed pod's log: its status keeps only 2 KiB, which torchrun's own traceback fills."""

    name: str
    uid: str


@dataclass(frozen=True, slots=True)
class ReadEvents:
    """What the kubelet says of a pod that does not start: a volume that cannot be mounted is told nowhere else."""

    name: str
    uid: str


@dataclass(frozen=True, slots=True)
class DeleteJob:
    """The job has outlived its ttlSecondsAfterFinished."""


@dataclass(frozen=True, slots=True)
class Announce:
    """A Kubernetes event on the job."""

    reason: str
    message: str
    type: Literal["Normal", "Warning"] = "Normal"


Action = CreateRendezvous | CreateWorker | DeletePod | ReadLog | ReadEvents | DeleteJob | Announce


@dataclass(frozen=True, slots=True)
class Plan:
    """Actions to take now, the status that follows, and when to look again (Unix seconds) if nothing happens before."""

    status: TrainingJobStatus
    actions: tuple[Action, ...] = field(default=())
    wake_at: float | None = None
