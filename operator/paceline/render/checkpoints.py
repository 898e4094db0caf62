"""Where a worker saves: the volume, and the variables that tell the program."""

from __future__ import annotations

from typing import Any

from paceline.api.survival import Checkpoint
from paceline.api.trainingjob import TrainingJob

MOUNT = "/checkpoints"
# Of a pod's grace this is the pod's own: torchrun, which gives its processes the rest, must end too and be heard.
AGENT_SECONDS = 5
GRACE_SECONDS = 30


def grace_seconds(job: TrainingJob) -> int:
    """From SIGTERM to SIGKILL of a worker pod."""
    return job.spec.checkpoint.grace_period_seconds if job.spec.checkpoint else GRACE_SECONDS


def shutdown_seconds(job: TrainingJob) -> int:
    """From SIGTERM to SIGKILL of the training processes, by torchrun."""
    return grace_seconds(job) - AGENT_SECONDS


def directory(job: TrainingJob, spec: Checkpoint) -> str:
    """A path of the pod, or a URL. By the job's uid too: a namesake that comes later does not resume from this one's."""
    base = spec.uri.rstrip("/") if spec.uri else MOUNT
    return f"{base}/{job.metadata.name}-{job.metadata.uid[:8]}"


def variables(job: TrainingJob) -> dict[str, str]:
    spec = job.spec.checkpoint
    if spec is None:
        return {}
    every = ("STEPS", spec.every_steps) if spec.every_steps else ("SECONDS", spec.every_seconds)
    return {
        "PACELINE_CHECKPOINT_DIR": directory(job, spec),
        f"PACELINE_CHECKPOINT_EVERY_{every[0]}": str(every[1]),
        "PACELINE_CHECKPOINT_KEEP": str(spec.keep),
        "PACELINE_SAVE_ON_SIGTERM": "1" if spec.save_on_suspend else "0",
    }


def add_volume(job: TrainingJob, container: dict[str, Any], spec: dict[str, Any]) -> None:
    """To the pod spec and its training container, in place."""
    checkpoint = job.spec.checkpoint
    if checkpoint is None or checkpoint.volume is None:
        return
    spec["volumes"].append({"name": "checkpoints", **checkpoint.volume.wire()})
    container["volumeMounts"].append({"name": "checkpoints", "mountPath": MOUNT})
