"""What stands around a gang: a network policy (whom its pods may talk to) and a disruption budget (how many may be evicted).

Neither ever needs an update, so the operator needs no right but to make them: what may change while a job runs is in neither, and
what may change while it is suspended is in the budget's name.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from paceline.api.trainingjob import TrainingJob
from paceline.render import names

DNS_PORT = 53


@dataclass(frozen=True, slots=True)
class Fence:
    """What a gang's network policy must know of the installation. Peers and rules are the API's own, in its wire form."""

    # The operator's pods, where progress is reported to: their namespace and labels; no labels: there is no such endpoint.
    namespace: str = ""
    operator: dict[str, str] | None = None
    progress_port: int = 8443
    # Who may scrape the workers.
    metrics_from: tuple[dict[str, Any], ...] = ()
    # Where gangs may go besides: object stores, the internet.
    extra_egress: tuple[dict[str, Any], ...] = ()


def fence(text: str, namespace: str, progress_port: int) -> Fence:
    """From the chart's JSON: operator, metricsFrom and extraEgress, each of which may be absent."""
    given = json.loads(text)
    return Fence(
        namespace=namespace,
        operator=given.get("operator"),
        progress_port=progress_port,
        metrics_from=tuple(given.get("metricsFrom", ())),
        extra_egress=tuple(given.get("extraEgress", ())),
    )


def network_policy(job: TrainingJob, fence: Fence) -> dict[str, Any]:
    """Of workers and store alike. By the job's uid: a namesake that comes later is not let in."""
    ingress: list[dict[str, Any]] = [{"from": [_gang(job)]}]
    if fence.metrics_from:
        ingress.append({"from": list(fence.metrics_from), "ports": [_port(names.METRICS_PORT)]})
    # Names are asked for everywhere: a node's own cache answers at an address that no selector finds.
    egress: list[dict[str, Any]] = [{"to": [_gang(job)]}, {"ports": [_port(DNS_PORT, "UDP"), _port(DNS_PORT)]}]
    if fence.operator:
        operator = {
            "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": fence.namespace}},
            "podSelector": {"matchLabels": fence.operator},
        }
        egress.append({"to": [operator], "ports": [_port(fence.progress_port)]})
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": _metadata(job, f"{job.metadata.name}-{job.metadata.uid[:8]}"),
        "spec": {
            **_gang(job),
            "policyTypes": ["Ingress", "Egress"],
            "ingress": ingress,
            "egress": [*egress, *fence.extra_egress],
        },
    }


def disruption_budget(job: TrainingJob) -> dict[str, Any] | None:
    """None where one worker is all that there ever is: nobody trains on while it is out, and its node must not be held.

    In numbers, not as maxUnavailable: of that the disruption controller reads the gang's size from the job's scale subresource,
    twice a job, and does not know how for half a minute after the kind was defined.
    """
    elastic = job.spec.elastic
    most = max(job.spec.nodes, *((elastic.max_nodes or 0, *(elastic.allowed_nodes or ())) if elastic else (0,)))
    if most == 1:
        return None
    least = min_nodes(job)
    # A pod with two budgets cannot be evicted at all: the one of another size, from before, finds no pods.
    labels = {
        names.LABEL_JOB_UID: job.metadata.uid,
        names.LABEL_ROLE: "worker",
        names.LABEL_MIN_NODES: str(least),
    }
    return {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": _metadata(job, f"{job.metadata.name}-{job.metadata.uid[:8]}-min-{least}"),
        "spec": {
            "minAvailable": least,
            # A worker that is not ready trains nothing: it holds no node.
            "unhealthyPodEvictionPolicy": "AlwaysAllow",
            "selector": {"matchLabels": labels},
        },
    }


def min_nodes(job: TrainingJob) -> int:
    """Workers that a drain must leave.

    An elastic gang trains on with minNodes. A fixed one stands still with the first that goes: one at a time, since each
    costs a restart.
    """
    return job.spec.nodes - 1 if job.spec.elastic is None else job.spec.elastic.min_nodes


def _gang(job: TrainingJob) -> dict[str, Any]:
    return {
        "podSelector": {"matchLabels": {names.LABEL_JOB_NAME: job.metadata.name, names.LABEL_JOB_UID: job.metadata.uid}}
    }


def _metadata(job: TrainingJob, name: str) -> dict[str, Any]:
    """By the job's uid, too: a namesake's that is still being removed is not taken for this one's."""
    return {
        "name": name,
        "namespace": job.metadata.namespace,
        "labels": {
            names.LABEL_JOB_NAME: job.metadata.name,
            names.LABEL_JOB_UID: job.metadata.uid,
            "app.kubernetes.io/managed-by": "paceline",
        },
        "ownerReferences": [names.owner_reference(job)],
    }


def _port(port: int, protocol: str = "TCP") -> dict[str, Any]:
    return {"protocol": protocol, "port": port}
