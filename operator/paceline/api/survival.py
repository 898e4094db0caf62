"""The part of ``TrainingJob.spec`` that says how a job survives: sizes, restarts, checkpoints, deadlines."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from paceline.api.base import ApiModel
from paceline.api.rules import cel, exactly_one, rules


class Elastic(ApiModel):
    """Sizes that the gang may train at. Without it the gang is fixed: it waits until it is whole."""

    min_nodes: int = Field(default=1, ge=1, le=1000, description="Fewest workers to train with.")
    max_nodes: int | None = Field(
        default=None, ge=1, le=1000, description="Most workers to train with. Default: spec.nodes."
    )
    step: int | None = Field(
        default=None, ge=1, le=1000, description="Sizes are minNodes, minNodes + step, minNodes + 2 step …"
    )
    allowed_nodes: list[int] | None = Field(
        default=None,
        min_length=1,
        max_length=64,
        description="The only sizes to train at, smallest first; not with step.",
    )
    scale_up_cooldown_seconds: int = Field(
        default=300,
        ge=0,
        le=86400,
        description="Least time between two attempts to grow: each interrupts the training.",
    )
    scale_up_when_free: bool = Field(
        default=False,
        description="Grow beyond spec.nodes, up to maxNodes, where there is room. Off: devices cost money.",
    )


ELASTIC_RULES = rules(
    cel("!has(self.maxNodes) || self.minNodes <= self.maxNodes", "elastic.minNodes must not be above elastic.maxNodes"),
    cel("!(has(self.step) && has(self.allowedNodes))", "elastic takes step or allowedNodes, not both"),
    cel(
        "!has(self.allowedNodes) || self.allowedNodes.all(n, n >= self.minNodes && (!has(self.maxNodes) || n <= self.maxNodes))",
        "elastic.allowedNodes must lie between minNodes and maxNodes",
    ),
    cel(
        "!has(self.allowedNodes) || size(self.allowedNodes) < 2 || (self.allowedNodes.isSorted() && "
        "self.allowedNodes.all(n, self.allowedNodes.exists_one(m, m == n)))",
        "elastic.allowedNodes must be ascending, each size once",
    ),
)


class Restarts(ApiModel):
    """How often what may be started again. Failures of the infrastructure never count against max."""

    in_place: int = Field(
        default=3,
        ge=0,
        le=1000,
        description="Restarts of failed processes within their pods, by torchrun (--max-restarts), in each attempt. "
        "A peer that is lost uses one too, in every pod that stays.",
    )
    max: int = Field(
        default=5,
        ge=0,
        le=100,
        description="Failures of the user's own code within windowSeconds that are answered by a new attempt; one more "
        "ends the job.",
    )
    window_seconds: int = Field(default=3600, ge=1, le=31536000, description="Failures older than this are forgotten.")
    backoff_seconds: int = Field(
        default=5, ge=0, le=86400, description="Wait before the first restart; it doubles with each further one."
    )
    backoff_max_seconds: int = Field(default=300, ge=0, le=86400, description="Longest wait before a restart.")


class NodeLoss(ApiModel):
    """When a node that does not answer is given up."""

    detect_seconds: int = Field(
        default=15,
        ge=0,
        le=3600,
        description="How long a node may be NotReady before its pods are replaced. Kubernetes itself takes about 50 s to call a "
        "silent node NotReady, and that comes before.",
    )


class ClaimVolume(ApiModel):
    """A PersistentVolumeClaim in the job's namespace."""

    claim_name: str = Field(
        min_length=1, max_length=253, description="Its name; every worker's node must be able to mount it."
    )


class HostPathVolume(ApiModel):
    """A directory of each node: only of use where it is a mount that all nodes share."""

    path: str = Field(min_length=1, max_length=1024, description="Absolute path.")
    type: str | None = Field(default=None, max_length=64, description="As in a pod's hostPath, e.g. DirectoryOrCreate.")


class NfsVolume(ApiModel):
    """An NFS export."""

    server: str = Field(min_length=1, max_length=253, description="Host name or address.")
    path: str = Field(min_length=1, max_length=1024, description="Exported path.")


class EmptyDirVolume(ApiModel):
    """Scratch space of each pod: it is lost with the pod, and no worker sees another's."""

    medium: str | None = Field(default=None, max_length=64, description="Memory for a tmpfs.")
    size_limit: str | int | None = Field(default=None, description="Largest size, e.g. 10Gi.")


_VOLUMES = ("persistentVolumeClaim", "hostPath", "nfs", "emptyDir")


class CheckpointVolume(ApiModel):
    """Where checkpoints are kept, as a pod's volume."""

    persistent_volume_claim: ClaimVolume | None = Field(
        default=None, description="A claim; ReadWriteMany for several nodes."
    )
    host_path: HostPathVolume | None = Field(default=None, description="A directory of each node.")
    nfs: NfsVolume | None = Field(default=None, description="An NFS export.")
    empty_dir: EmptyDirVolume | None = Field(default=None, description="Scratch space, lost with the pod.")


class Checkpoint(ApiModel):
    """Where and how often the program saves. It gets this by environment (PACELINE_CHECKPOINT_DIR …) and SIGTERM."""

    volume: CheckpointVolume | None = Field(
        default=None,
        description="A volume, mounted at /checkpoints.",
        json_schema_extra=rules(exactly_one("checkpoint.volume", _VOLUMES)),
    )
    uri: str | None = Field(
        default=None,
        max_length=1024,
        pattern=r"^[a-z0-9]+://.+",
        description="An object store instead of a volume, e.g. s3://bucket/prefix; credentials by env of the template.",
    )
    every_steps: int | None = Field(default=None, ge=1, description="Save every so many steps.")
    every_seconds: int | None = Field(
        default=None, ge=1, description="Save every so many seconds, instead of everySteps."
    )
    keep: int = Field(default=3, ge=1, le=1000, description="Newest checkpoints that are kept, beside the best one.")
    save_on_suspend: bool = Field(
        default=True, description="Save at SIGTERM (suspension, drain, preemption) before the pod ends."
    )
    grace_period_seconds: int = Field(
        default=60,
        ge=10,
        le=86400,
        description="From SIGTERM to SIGKILL: time to save. Of it, torchrun gives its processes all but 5 seconds.",
    )


CHECKPOINT_RULES = rules(
    exactly_one("checkpoint", ("volume", "uri")), exactly_one("checkpoint", ("everySteps", "everySeconds"))
)


class Deadlines(ApiModel):
    """When to give up."""

    startup_seconds: int = Field(
        default=1800,
        ge=1,
        le=604800,
        description="From the moment all pods of an attempt are scheduled until they run (image pulls, volumes). "
        "Waiting for free nodes does not count.",
    )
    active_seconds: int | None = Field(
        default=None,
        ge=1,
        le=31536000,
        description="Longest time the job may be active, over all attempts. Queueing and suspension do not count.",
    )
    stalled_seconds: int = Field(
        default=900,
        ge=10,
        le=31536000,
        description="Longest silence of a program that has reported progress before, while all its pods run. "
        "Evaluating and saving do not count where they report themselves.",
    )
    on_stall: Literal["Warn", "Restart"] = Field(
        default="Warn",
        description="Warn sets the condition Stalled; Restart begins a new attempt as well, from the last checkpoint.",
    )
