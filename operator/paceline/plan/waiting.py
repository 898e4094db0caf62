"""Why a gang does not run yet, in the words of the scheduler, the runtime or the kubelet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from paceline.api.conditions import Reason
from paceline.api.status import Cause
from paceline.plan.actions import ReadEvents
from paceline.plan.draft import Draft
from paceline.plan.failure import IMAGE_TROUBLE
from paceline.plan.observed import PodRecord

# After how long on a node a pod's events are read, and how often again; and of how many pods. Seconds.
SILENT_SECONDS, AGAIN_SECONDS, PODS = 20, 60, 2


def ask(d: Draft, pods: Sequence[PodRecord]) -> None:
    """Has the events read of pods that have a node, do not start, and say nothing themselves."""
    silent = [
        p
        for p in pods
        if p.phase == "Pending" and p.scheduled_at and p.container.waiting_reason in ("", "ContainerCreating")
    ]
    for pod in silent[:PODS]:
        assert pod.scheduled_at is not None
        read_at, _ = d.seen.warnings.get(pod.uid, (None, ""))
        due = pod.scheduled_at + SILENT_SECONDS if read_at is None else read_at + AGAIN_SECONDS
        if d.now >= due:
            d.actions.append(ReadEvents(pod.name, pod.uid))
        else:
            d.wake(due)


def why(pods: Sequence[PodRecord], wanted: int, warnings: Mapping[str, tuple[float, str]]) -> tuple[str, str]:
    """(reason, message), the most telling of all pods first. ``warnings``: of events, as in Observed."""
    for pod in pods:
        if pod.unschedulable:
            return Reason.UNSCHEDULABLE, f"pod {pod.name} cannot be scheduled: {pod.unschedulable}"
    for pod in pods:
        waiting = pod.container.waiting_reason
        if waiting in IMAGE_TROUBLE:
            return Reason.IMAGE_ERROR, f"pod {pod.name}: {waiting}: {pod.container.waiting_message}"
        if waiting.endswith("Error"):
            return Reason.CONFIG_ERROR, f"pod {pod.name}: {waiting}: {pod.container.waiting_message}"
    for pod in pods:
        _, warning = warnings.get(pod.uid, (0.0, ""))
        if warning and pod.phase == "Pending":
            return Reason.WAITING_FOR_PODS, f"pod {pod.name}: {warning}"
    running = sum(p.running for p in pods if p.role == "worker")
    store = "" if running < wanted else ", and wait for the rendezvous pod to run"
    return Reason.WAITING_FOR_PODS, f"{running} of {wanted} workers run{store}"


def cause(pods: Sequence[PodRecord]) -> Cause:
    """The same, as the cause of a start that took too long."""
    reason, _ = why(pods, len(pods), {})
    return (
        Cause(reason)
        if reason in (Reason.UNSCHEDULABLE, Reason.IMAGE_ERROR, Reason.CONFIG_ERROR)
        else Cause.STARTUP_TIMEOUT
    )
