"""Which news are worth a look, and which changes of a status a write of their own, at once, and which may wait for company.

Eight workers that start one after the other would otherwise be eight writes that each say one more, after three looks each.
"""

from __future__ import annotations

from paceline.api.conditions import PRICE_UNKNOWN
from paceline.api.status import Phase, TrainingJobStatus
from paceline.plan.observed import PodRecord


def comes_up(pod: PodRecord | None) -> bool:
    """Is that all that is new of a pod: that it is there, has a node, runs? Nothing is to be done about it but to tell of it."""
    if pod is None or pod.deleting or pod.reason or pod.disruption:
        return False
    return pod.phase in ("Pending", "Running") and pod.container.exit_code is None


def may_wait(old: TrainingJobStatus, new: TrainingJobStatus) -> bool:
    """Do the two differ in counts, wording and the steps of one start only? All of it can be seen again from the pods."""
    starting = (Phase.PENDING, Phase.STARTING)
    phases_may = old.phase == new.phase or (old.phase in starting and new.phase in starting)
    waiting: dict[str, object] = {
        "nodes": None,
        "message": None,
        "conditions": [],
        "phase": None,
        "start_time": None,
        "active_since": None,
        "cost": None,
        "goodput": None,
    }
    if not phases_may or old.model_copy(update=waiting) != new.model_copy(update=waiting):
        return False
    return _judged(old) == _judged(new)


def _judged(status: TrainingJobStatus) -> list[tuple[str, str, str]]:
    """Whether the price of a pod is known is told with what it costs."""
    return [(c.type, c.status, c.reason) for c in status.conditions if c.type != PRICE_UNKNOWN]
