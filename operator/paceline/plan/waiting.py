"""Why a gang does not run yet, in the words of the scheduler or the node."""

from __future__ import annotations

from collections.abc import Sequence

from paceline.api.conditions import Reason
from paceline.api.status import Cause
from paceline.plan.failure import IMAGE_TROUBLE
from paceline.plan.observed import PodRecord


def why(pods: Sequence[PodRecord], wanted: int) -> tuple[str, str]:
    """(reason, message), the most telling of all pods first."""
    for pod in pods:
        if pod.unschedulable:
            return Reason.UNSCHEDULABLE, f"pod {pod.name} cannot be scheduled: {pod.unschedulable}"
    for pod in pods:
        waiting = pod.container.waiting_reason
        if waiting in IMAGE_TROUBLE:
            return Reason.IMAGE_ERROR, f"pod {pod.name}: {waiting}: {pod.container.waiting_message}"
        if waiting.endswith("Error"):
            return Reason.CONFIG_ERROR, f"pod {pod.name}: {waiting}: {pod.container.waiting_message}"
    running = sum(p.running for p in pods if p.role == "worker")
    store = "" if running < wanted else ", and wait for the rendezvous pod to run"
    return Reason.WAITING_FOR_PODS, f"{running} of {wanted} workers run{store}"


def cause(pods: Sequence[PodRecord]) -> Cause:
    """The same, as the cause of a start that took too long."""
    reason, _ = why(pods, len(pods))
    return (
        Cause(reason)
        if reason in (Reason.UNSCHEDULABLE, Reason.IMAGE_ERROR, Reason.CONFIG_ERROR)
        else Cause.STARTUP_TIMEOUT
    )
