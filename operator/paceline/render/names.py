"""Names and labels. Deterministic, so that a create that already exists is a success."""

from __future__ import annotations

from paceline.api import GROUP
from paceline.api.trainingjob import TrainingJob

LABEL_JOB_NAME = f"{GROUP}/job-name"
LABEL_JOB_UID = f"{GROUP}/job-uid"
LABEL_ATTEMPT = f"{GROUP}/attempt"
LABEL_ROLE = f"{GROUP}/role"
LABEL_INDEX = f"{GROUP}/index"
LABEL_REPLACEMENT = f"{GROUP}/replacement"
LABEL_MIN_NODES = f"{GROUP}/min-nodes"
ANNOTATION_CA = f"{GROUP}/progress-ca"

RENDEZVOUS_PORT = 29400
# Of workers: where Prometheus asks the trainer.
METRICS_PORT = 9400


def worker_name(job: TrainingJob, attempt: int, index: int, replacement: int = 0) -> str:
    return f"{job.metadata.name}-{attempt}-{index}-{replacement}"


def rendezvous_name(job: TrainingJob) -> str:
    return f"{job.metadata.name}-rdzv"


def worker_selector(job: TrainingJob) -> str:
    return f"{LABEL_JOB_UID}={job.metadata.uid},{LABEL_ROLE}=worker"


def labels(job: TrainingJob, role: str) -> dict[str, str]:
    return {
        LABEL_JOB_NAME: job.metadata.name,
        LABEL_JOB_UID: job.metadata.uid,
        LABEL_ROLE: role,
        "app.kubernetes.io/managed-by": "paceline",
    }


def owner_reference(job: TrainingJob) -> dict[str, object]:
    return {
        "apiVersion": f"{GROUP}/v1alpha1",
        "kind": "TrainingJob",
        "name": job.metadata.name,
        "uid": job.metadata.uid,
        "controller": True,
        "blockOwnerDeletion": True,
    }


def token_audience(job_uid: str) -> str:
    """A token for this audience reports for this job and no other."""
    return f"{GROUP}/job/{job_uid}"
