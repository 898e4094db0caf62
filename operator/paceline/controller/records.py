"""From the API server's JSON to slim records."""

from __future__ import annotations

import sys
from datetime import datetime
from decimal import Decimal
from typing import Any

from paceline.cost import lookup
from paceline.cost.lookup import Amounts
from paceline.plan.observed import Container, NodeRecord, PodRecord
from paceline.render.names import (
    LABEL_ATTEMPT,
    LABEL_INDEX,
    LABEL_JOB_NAME,
    LABEL_JOB_UID,
    LABEL_REPLACEMENT,
    LABEL_ROLE,
)

Json = dict[str, Any]
MESSAGE_LIMIT = 4096


def _seconds(time: str | None) -> float | None:
    return None if time is None else datetime.fromisoformat(time).timestamp()


def pod(obj: Json) -> PodRecord | None:
    """A pod of ours, or None for any other."""
    meta, status = obj["metadata"], obj.get("status") or {}
    labels = meta.get("labels") or {}
    try:
        role = labels[LABEL_ROLE]
        scheduled_at, unschedulable = _scheduling(status)
        disruption = _holding(status, "DisruptionTarget")
        return PodRecord(
            namespace=sys.intern(meta["namespace"]),
            name=meta["name"],
            uid=meta["uid"],
            resource_version=int(meta["resourceVersion"]),
            job_name=sys.intern(labels[LABEL_JOB_NAME]),
            job_uid=sys.intern(labels[LABEL_JOB_UID]),
            attempt=int(labels.get(LABEL_ATTEMPT, 0)),
            role="worker" if role == "worker" else "rendezvous",
            index=int(labels.get(LABEL_INDEX, 0)),
            phase=status.get("phase", "Pending"),
            created_at=_seconds(meta["creationTimestamp"]) or 0.0,
            node=sys.intern(obj["spec"].get("nodeName") or ""),
            deleting="deletionTimestamp" in meta,
            scheduled_at=scheduled_at,
            unschedulable=unschedulable,
            reason=sys.intern(status.get("reason") or ""),
            message=(status.get("message") or "")[:MESSAGE_LIMIT],
            replacement=int(labels.get(LABEL_REPLACEMENT, 0)),
            disruption=sys.intern(disruption.get("reason") or ""),
            disruption_message=(disruption.get("message") or "")[:MESSAGE_LIMIT],
            container=_container(status, role),
            sidecars_running=any(
                c["name"] not in ("trainer", "rendezvous") and "running" in c["state"]
                for c in status.get("containerStatuses") or []
            ),
            asks=_asks(obj["spec"]),
            ended_at=_ended_at(status),
        )
    except (KeyError, ValueError):
        return None  # somebody's pod with half of our labels


def _holding(status: Json, condition: str) -> Json:
    """The condition, where it is true."""
    conditions: list[Json] = status.get("conditions") or []
    return next((c for c in conditions if c["type"] == condition and c["status"] == "True"), {})


def _scheduling(status: Json) -> tuple[float | None, str]:
    for condition in status.get("conditions") or []:
        if condition["type"] == "PodScheduled":
            if condition["status"] == "True":
                return _seconds(condition.get("lastTransitionTime")), ""
            return None, condition.get("message") or condition.get("reason") or ""
    return None, ""


def _asks(spec: Json) -> Amounts:
    """What the scheduler counts: all containers that run together, or the largest init container where that is more."""
    init: list[Json] = spec.get("initContainers") or []
    sidecars = [c for c in init if c.get("restartPolicy") == "Always"]
    mine = [_requests(c) for c in (*(spec.get("containers") or []), *sidecars)]
    first = [_requests(c) for c in init if c not in sidecars]
    gpus, cpus, memory = (max([sum((r[i] for r in mine), Decimal(0)), *(r[i] for r in first)]) for i in range(3))
    return lookup.shared(int(gpus), cpus, memory)


def _requests(container: Json) -> tuple[Decimal, Decimal, Decimal]:
    found: Json = (container.get("resources") or {}).get("requests") or {}
    amounts = lookup.amounts(found)
    return Decimal(amounts.gpus), amounts.cpus, amounts.memory


def _ended_at(status: Json) -> float | None:
    """When the last container ended; of a pod that ended without any, when its conditions last changed."""
    states = [s["state"] for s in status.get("containerStatuses") or []]
    ends = [_seconds((s.get("terminated") or {}).get("finishedAt")) for s in states]
    known = [end for end in ends if end is not None]
    if states and len(known) == len(states):
        return max(known)
    if status.get("phase") in ("Succeeded", "Failed"):
        changed = (_seconds(c.get("lastTransitionTime")) for c in status.get("conditions") or [])
        return max([*known, *(when for when in changed if when is not None)], default=None)
    return None


def _container(status: Json, role: str) -> Container:
    """State of the training container; before it, of the init container that it waits for."""
    if not status.get("containerStatuses"):
        return Container()
    for found in status.get("initContainerStatuses") or []:
        waiting = found["state"].get("waiting")
        if waiting and waiting.get("reason") != "PodInitializing":
            return Container(waiting_reason=waiting.get("reason") or "", waiting_message=waiting.get("message") or "")
    name = "trainer" if role == "worker" else role
    mine: Json = next((c for c in status["containerStatuses"] if c["name"] == name), {"state": {}})
    state: Json = mine["state"]
    if running := state.get("running"):
        before: Json = (mine.get("lastState") or {}).get("terminated") or {}
        return Container(running_since=_seconds(running.get("startedAt")), died_at=_seconds(before.get("finishedAt")))
    if ended := state.get("terminated"):
        return Container(
            running_since=_seconds(ended.get("startedAt")),
            exit_code=ended["exitCode"],
            finished_at=_seconds(ended.get("finishedAt")),
            reason=sys.intern(ended.get("reason") or ""),
            message=(ended.get("message") or "")[-MESSAGE_LIMIT:],
        )
    waiting = state.get("waiting") or {}
    return Container(
        waiting_reason=sys.intern(waiting.get("reason") or ""),
        waiting_message=(waiting.get("message") or "")[:MESSAGE_LIMIT],
    )


def node(obj: Json) -> NodeRecord:
    conditions: list[Json] = (obj.get("status") or {}).get("conditions") or []
    ready: Json = next((c for c in conditions if c["type"] == "Ready"), {})
    troubles = (c for c in conditions if c["type"] != "Ready" and c["status"] == "True")
    return NodeRecord(
        name=sys.intern(obj["metadata"]["name"]),
        resource_version=int(obj["metadata"]["resourceVersion"]),
        ready=ready.get("status") == "True",
        unschedulable=bool(obj["spec"].get("unschedulable")),
        ready_since=_seconds(ready.get("lastTransitionTime")) or 0.0,
        taints=tuple(
            sys.intern(t["key"]) for t in obj["spec"].get("taints") or [] if t["effect"] != "PreferNoSchedule"
        ),
        host=lookup.host(
            obj["metadata"].get("labels") or {},
            obj["metadata"].get("annotations") or {},
            (obj.get("status") or {}).get("allocatable") or {},
        ),
        troubles=tuple(f"{c['type']}: {c.get('message') or c.get('reason')}" for c in troubles),
    )
