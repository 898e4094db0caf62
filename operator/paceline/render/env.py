"""The environment that makes torchrun agents find each other, with no change to the user's command."""

from __future__ import annotations

from paceline.api.trainingjob import TrainingJob
from paceline.render import checkpoints
from paceline.render.names import METRICS_PORT, RENDEZVOUS_PORT, rendezvous_name

TOKEN_DIR = "/var/run/paceline"
# How long an agent waits for the store: its pod may still be pulling the image that the agent's node has already.
STORE_READ_TIMEOUT_SECONDS = 300
# NCCL's own defaults can hang for hours: 600 s a collective, 1,800 s of heartbeat, times every restart.
NCCL_HEARTBEAT_SECONDS = 180


def rendezvous_conf(job: TrainingJob) -> str:
    spec = job.spec.rendezvous
    conf = {
        "is_host": "0",
        "last_call_timeout": str(spec.last_call_seconds),
        "keep_alive_interval": str(spec.keep_alive_seconds),
        "keep_alive_max_attempt": "3",
        "join_timeout": str(spec.join_timeout_seconds),
        "read_timeout": str(STORE_READ_TIMEOUT_SECONDS),
        **spec.conf,
    }
    return ",".join(f"{key}={value}" for key, value in conf.items())


def worker_env(job: TrainingJob, attempt: int, nnodes: tuple[int, int]) -> list[dict[str, object]]:
    """Variables of the training container, the operator's part; the network's and the template's go over it."""
    meta = job.metadata
    values = {
        "PET_NNODES": f"{nnodes[0]}:{nnodes[1]}",
        "PET_NPROC_PER_NODE": str(job.spec.processes_per_node),
        "PET_RDZV_BACKEND": "c10d",
        "PET_RDZV_ENDPOINT": f"{rendezvous_name(job)}.{meta.namespace}.svc:{RENDEZVOUS_PORT}",
        "PET_RDZV_ID": f"{meta.uid}-{attempt}",
        "PET_RDZV_CONF": rendezvous_conf(job),
        "PET_MAX_RESTARTS": str(job.spec.restarts.in_place),
        "PET_SHUTDOWN_TIMEOUT": str(checkpoints.shutdown_seconds(job)),
        # Agents that share one store look for a MASTER_ADDR that nobody writes when a newcomer joins (torch 2.15).
        "TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1",
        "TORCH_NCCL_HEARTBEAT_TIMEOUT_SEC": str(NCCL_HEARTBEAT_SECONDS),
        "PACELINE_JOB_NAME": meta.name,
        "PACELINE_JOB_UID": meta.uid,
        "PACELINE_NAMESPACE": meta.namespace,
        "PACELINE_ATTEMPT": str(attempt),
        **checkpoints.variables(job),
        **network_env(job),
    }
    env: list[dict[str, object]] = [{"name": name, "value": value} for name, value in values.items()]
    env.append({"name": "PET_LOCAL_ADDR", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}})
    return env


def network_env(job: TrainingJob) -> dict[str, str]:
    network = job.spec.network
    env: dict[str, str] = {}
    interface = network.interface or ("eth0" if network.profile == "tcp" else None)
    if interface:
        env |= {"NCCL_SOCKET_IFNAME": interface, "GLOO_SOCKET_IFNAME": interface}
    if network.profile == "tcp":
        env["NCCL_IB_DISABLE"] = "1"
    return {**env, **network.env}


def metrics_env() -> list[dict[str, object]]:
    return [{"name": "PACELINE_METRICS_PORT", "value": str(METRICS_PORT)}]


def progress_env(url: str) -> list[dict[str, object]]:
    """The three variables at whose sight transformers' Trainer registers its progress callback."""
    return [
        {"name": "KUBEFLOW_TRAINER_SERVER_URL", "value": url},
        {"name": "KUBEFLOW_TRAINER_SERVER_CA_CERT", "value": f"{TOKEN_DIR}/ca.crt"},
        {"name": "KUBEFLOW_TRAINER_SERVER_TOKEN", "value": f"{TOKEN_DIR}/token"},
    ]
