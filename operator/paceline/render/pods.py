"""Worker and rendezvous pods, and the service that gives the store its name."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from paceline.api import TRAINER_CONTAINER
from paceline.api.quantities import amount
from paceline.api.trainingjob import TrainingJob
from paceline.render import checkpoints, env, names
from paceline.render.guards import Fence, min_nodes
from paceline.render.merge import merge

TOKEN_SECONDS = 3600

# The store: a TCPStore server in the job's own image, which has torch and is on the nodes already. SIGTERM must be
# handled, for a process that is PID 1 does not die of it otherwise.
STORE_PROGRAM = f"""
import datetime, signal, sys
from torch.distributed import TCPStore
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
store = TCPStore("0.0.0.0", {names.RENDEZVOUS_PORT}, None, True, datetime.timedelta(days=1), wait_for_workers=False)
print("rendezvous store on port {names.RENDEZVOUS_PORT}", flush=True)
signal.pause()
""".strip()


@dataclass(frozen=True, slots=True)
class Installation:
    """What the pods must know of the operator that they are made by."""

    trainer_image: str
    progress_url: str = ""  # https://HOST:PORT; empty: no progress server
    progress_ca: str = ""  # PEM of the CA that signed the progress server's certificate
    fence: Fence | None = None  # None: no network policies
    disruption_budgets: bool = False


def worker(
    job: TrainingJob,
    here: Installation,
    *,
    attempt: int,
    index: int,
    replacement: int = 0,
    nnodes: tuple[int, int],
    avoid: Sequence[str] = (),
) -> dict[str, Any]:
    """``nnodes``: torchrun's (min, max). ``avoid``: names of nodes that are taken only where there is no other."""
    container: dict[str, Any] = {
        "name": TRAINER_CONTAINER,
        "image": job.spec.image or here.trainer_image,
        "imagePullPolicy": "IfNotPresent",
        "command": _command(job),
        "env": env.worker_env(job, attempt, nnodes),
        "resources": job.spec.resources.wire(),
        # Without @record the last log lines say why a process failed, with no further request.
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": [],
    }
    spec: dict[str, Any] = {
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": checkpoints.grace_seconds(job),
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "containers": [container],
        "volumes": [],
        **_spread(job),
        **_keep_away(avoid),
    }
    annotations: dict[str, str] = {}
    _add_shared_memory(job, container, spec)
    checkpoints.add_volume(job, container, spec)
    if job.spec.progress.enabled and here.progress_url:
        _add_progress(job, here, container, spec)
        annotations[names.ANNOTATION_CA] = here.progress_ca
    template = job.spec.template
    _add_metrics(container, template.spec.wire())
    mine = {
        **names.labels(job, "worker"),
        names.LABEL_ATTEMPT: str(attempt),
        names.LABEL_INDEX: str(index),
        names.LABEL_REPLACEMENT: str(replacement),
        names.LABEL_MIN_NODES: str(min_nodes(job)),
    }
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": names.worker_name(job, attempt, index, replacement),
            "namespace": job.metadata.namespace,
            "labels": {**template.metadata.labels, **mine},
            "annotations": {**template.metadata.annotations, **annotations},
            "ownerReferences": [names.owner_reference(job)],
        },
        "spec": merge(spec, template.spec.wire()),
    }


def rendezvous(job: TrainingJob, here: Installation, avoid: Sequence[str] = ()) -> dict[str, Any]:
    """The store's pod: restarts in place, needs no device, and follows the template where it must to be allowed at all."""
    template = job.spec.template.spec.wire()
    spec: dict[str, Any] = {
        "restartPolicy": "Always",
        "terminationGracePeriodSeconds": 2,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "containers": [
            {
                "name": "rendezvous",
                "image": job.spec.image or here.trainer_image,
                "imagePullPolicy": "IfNotPresent",
                "command": ["sh", "-c", 'exec "$(command -v python3 || command -v python)" -c "$0"', STORE_PROGRAM],
                # No device, even on a node that shows all of them to every container.
                "env": [
                    {"name": "CUDA_VISIBLE_DEVICES", "value": ""},
                    {"name": "NVIDIA_VISIBLE_DEVICES", "value": "void"},
                ],
                "ports": [{"containerPort": names.RENDEZVOUS_PORT, "name": "store"}],
                "resources": {"requests": {"cpu": "50m", "memory": "256Mi"}},
            }
        ],
        **_keep_away(avoid),
    }
    shared = (
        "imagePullSecrets",
        "tolerations",
        "nodeSelector",
        "affinity",
        "priorityClassName",
        "securityContext",
        "runtimeClassName",
    )
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": names.rendezvous_name(job),
            "namespace": job.metadata.namespace,
            "labels": names.labels(job, "rendezvous"),
            "ownerReferences": [names.owner_reference(job)],
        },
        "spec": merge(spec, {key: template[key] for key in shared if key in template}),
    }


def service(job: TrainingJob) -> dict[str, Any]:
    """Headless: its name is the store's address, whichever pod it is."""
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {
            "name": names.rendezvous_name(job),
            "namespace": job.metadata.namespace,
            "labels": names.labels(job, "rendezvous"),
            "ownerReferences": [names.owner_reference(job)],
        },
        "spec": {
            "clusterIP": "None",
            # The agents wait for the store anyway; its name must not wait for a readiness that nobody checks.
            "publishNotReadyAddresses": True,
            "selector": {names.LABEL_JOB_UID: job.metadata.uid, names.LABEL_ROLE: "rendezvous"},
            "ports": [{"name": "store", "port": names.RENDEZVOUS_PORT}],
        },
    }


def _command(job: TrainingJob) -> list[str]:
    if job.spec.command:
        return list(job.spec.command)
    recipe = job.spec.recipe
    assert recipe is not None, "a CEL rule asks for one of command and recipe"
    params = json.dumps(recipe.params, sort_keys=True)
    return ["torchrun", "-m", "paceline_trainer.run", "--recipe", recipe.name, "--params", params]


def _spread(job: TrainingJob) -> dict[str, Any]:
    """One worker a node where there are enough: `nodes` counts machines, and a lost one must not take two workers."""
    return {
        "topologySpreadConstraints": [
            {
                "maxSkew": 1,
                "topologyKey": "kubernetes.io/hostname",
                "whenUnsatisfiable": "ScheduleAnyway",
                "labelSelector": {"matchLabels": {names.LABEL_JOB_UID: job.metadata.uid, names.LABEL_ROLE: "worker"}},
            }
        ]
    }


def _keep_away(nodes: Sequence[str]) -> dict[str, Any]:
    """From nodes that have just failed. A preference: where there is no other node, a bad one is better than none."""
    if not nodes:
        return {}
    preferred = [
        # The API takes one name in each term.
        {
            "weight": 100,
            "preference": {"matchFields": [{"key": "metadata.name", "operator": "NotIn", "values": [node]}]},
        }
        for node in nodes
    ]
    return {"affinity": {"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": preferred}}}


def _add_shared_memory(job: TrainingJob, container: dict[str, Any], spec: dict[str, Any]) -> None:
    asked = job.spec.shared_memory
    if asked is not None and amount(asked) == 0:
        return
    medium: dict[str, Any] = {"medium": "Memory"}
    limit = job.spec.resources.limits.get("memory")
    if asked is not None:
        medium["sizeLimit"] = str(asked)
    elif limit is not None and (size := amount(limit)):
        medium["sizeLimit"] = str(size // 2)
    spec["volumes"].append({"name": "shared-memory", "emptyDir": medium})
    container["volumeMounts"].append({"name": "shared-memory", "mountPath": "/dev/shm"})


def _add_metrics(container: dict[str, Any], template: dict[str, Any]) -> None:
    """Not on the node's own network, where no two workers can have the port, nor beside the user's own port of that name."""
    theirs = (c for c in template.get("containers") or () if c.get("name") == TRAINER_CONTAINER)
    taken = any(port.get("name") == "metrics" for c in theirs for port in c.get("ports") or ())
    if not template.get("hostNetwork") and not taken:
        container["env"] += env.metrics_env()
        container["ports"] = [{"containerPort": names.METRICS_PORT, "name": "metrics"}]


def _add_progress(job: TrainingJob, here: Installation, container: dict[str, Any], spec: dict[str, Any]) -> None:
    meta = job.metadata
    url = f"{here.progress_url}/v1alpha1/namespaces/{meta.namespace}/trainingjobs/{meta.name}/progress"
    container["env"] += env.progress_env(url)
    container["volumeMounts"].append({"name": "paceline", "mountPath": env.TOKEN_DIR, "readOnly": True})
    token = {"audience": names.token_audience(meta.uid), "expirationSeconds": TOKEN_SECONDS, "path": "token"}
    # The CA travels in an annotation: a ConfigMap would be a write more for every job, and rights on ConfigMaps.
    ca = {"path": "ca.crt", "fieldRef": {"fieldPath": f"metadata.annotations['{names.ANNOTATION_CA}']"}}
    sources = [{"serviceAccountToken": token}, {"downwardAPI": {"items": [ca]}}]
    spec["volumes"].append({"name": "paceline", "projected": {"sources": sources, "defaultMode": 0o444}})
