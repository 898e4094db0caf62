"""Attribution: which worker failed first, of what cause, and what it said."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from paceline.api.base import at
from paceline.api.status import Failure
from paceline.plan.observed import PodRecord

# Waiting reasons that no restart cures and that time does not either: the manifest must change.
HOPELESS = {
    "InvalidImageName": "ImageError",
    "CreateContainerConfigError": "ConfigError",
}
IMAGE_TROUBLE = ("ErrImagePull", "ImagePullBackOff", "ErrImageNeverPull", "RegistryUnavailable")
MESSAGE_LIMIT = 2048


def first_failed(pods: Iterable[PodRecord], unready_nodes: frozenset[str], now: float) -> Failure | None:
    """The failure of the worker that failed first; the others mostly just noticed."""
    failed = [p for p in pods if p.failed or (p.running and p.node in unready_nodes)]
    if not failed:
        return None
    pod = min(failed, key=lambda p: (p.container.finished_at or now, p.index))
    if not pod.failed:
        return Failure(
            cause="NodeLost", pod=pod.name, node=pod.node, message=f"node {pod.node} is not ready", time=at(now)
        )
    return Failure(
        cause=_cause(pod),
        pod=pod.name,
        node=pod.node or None,
        exit_code=pod.container.exit_code,
        message=_message(pod),
        time=at(pod.container.finished_at or now),
    )


def lost(pod_name: str, now: float) -> Failure:
    """A worker that ran is gone, or going, and nobody of ours asked for it."""
    return Failure(cause="PodDeleted", pod=pod_name, message=f"pod {pod_name} was deleted while it ran", time=at(now))


def hopeless(pods: Iterable[PodRecord], now: float) -> Failure | None:
    """A container that can never start as the manifest stands."""
    for pod in pods:
        if cause := HOPELESS.get(pod.container.waiting_reason):
            message = f"{pod.container.waiting_reason}: {pod.container.waiting_message}"
            return Failure(cause=cause, pod=pod.name, node=pod.node or None, message=message, time=at(now))
    return None


def _cause(pod: PodRecord) -> str:
    if pod.container.reason == "OOMKilled":
        return "OutOfMemory"
    if pod.reason == "Evicted":
        return "Evicted"
    if "Traceback (most recent call last)" in pod.container.message or '"py_callstack"' in pod.container.message:
        return "CodeError"
    return "Unknown"


def _message(pod: PodRecord) -> str:
    """The program's own words: torchrun's error file where @record wrote one, else the last log lines."""
    text = pod.container.message.strip()
    try:
        document: Any = json.loads(text)
    except ValueError:
        return (text or pod.message or pod.container.reason or "no message")[-MESSAGE_LIMIT:]
    message = document.get("message") if isinstance(document, dict) else None
    if isinstance(message, dict):
        said = str(message.get("message", ""))
        trace = str((message.get("extraInfo") or {}).get("py_callstack", "")).strip()
        return (f"{said}\n{trace}" if trace else said)[-MESSAGE_LIMIT:]
    return str(message or text)[-MESSAGE_LIMIT:]
