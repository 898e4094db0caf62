"""Why a gang does not run yet, in the words of the scheduler or the node."""

from __future__ import annotations

from collections.abc import Sequence

from paceline.api.conditions import Reason
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
    return Reason.WAITING_FOR_PODS, f"{running} of {wanted} workers run"
