"""From the API server's JSON to slim records."""

from __future__ import annotations

import sys
from datetime import datetime
from typing import Any

from paceline.plan.observed import Container, NodeRecord, PodRecord
from paceline.render.names import LABEL_ATTEMPT, LABEL_INDEX, LABEL_JOB_NAME, LABEL_JOB_UID, LABEL_ROLE

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
            container=_container(status, role),
            sidecars_running=any(
                c["name"] not in ("trainer", "rendezvous") and "running" in c["state"]
                for c in status.get("containerStatuses") or []
            ),
        )
    except (KeyError, ValueError):
        return None  # somebody's pod with half of our labels


def _scheduling(status: Json) -> tuple[float | None, str]:
    for condition in status.get("conditions") or []:
        if condition["type"] == "PodScheduled":
            if condition["status"] == "True":
                return _seconds(condition.get("lastTransitionTime")), ""
            return None, condition.get("message") or condition.get("reason") or ""
    return None, ""


def _container(status: Json, role: str) -> Container:
    """State of the training container; before it, of the init container that it waits for."""
    if not status.get("containerStatuses"):
        return Container()
    for found in status.get("initContainerStatuses") or []:
        waiting = found["state"].get("waiting")
        if waiting and waiting.get("reason") != "PodInitializing":
            return Container(waiting_reason=waiting.get("reason") or "", waiting_message=waiting.get("message") or "")
    state: Json = next(
        (c["state"] for c in status["containerStatuses"] if c["name"] == ("trainer" if role == "worker" else role)), {}
    )
    if running := state.get("running"):
        return Container(running_since=_seconds(running.get("startedAt")))
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
    conditions = (obj.get("status") or {}).get("conditions") or []
    return NodeRecord(
        name=sys.intern(obj["metadata"]["name"]),
        resource_version=int(obj["metadata"]["resourceVersion"]),
        ready=any(c["type"] == "Ready" and c["status"] == "True" for c in conditions),
        unschedulable=bool(obj["spec"].get("unschedulable")),
    )
