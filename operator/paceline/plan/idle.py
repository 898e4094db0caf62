"""Devices that do nothing: told with what they burn, and given back where the user wants that."""

from __future__ import annotations

from decimal import Decimal

from paceline.api import conditions as c
from paceline.api.conditions import Reason
from paceline.plan.draft import Draft

CENT = Decimal("0.01")
# A utilization that was measured longer ago says nothing about now.
FRESH_SECONDS = 300


def look(d: Draft) -> None:
    """The condition Idle: utilization under the threshold and no progress, for as long as ``cost.idle`` says."""
    idle, used = d.job.spec.cost.idle, d.status.utilization
    if _suspended_for_it(d):
        return
    fresh = used is not None and used.ratio is not None and d.now < used.as_of.timestamp() + FRESH_SECONDS
    low = used is not None and fresh and Decimal(used.ratio or 0) < Decimal(idle.utilization_below)
    if used is None or not low or not d.holds(c.RUNNING):
        if used is not None and used.idle_since is not None:
            d.set(utilization=used.model_copy(update={"idle_since": None}))
        d.clear(c.IDLE, Reason.IN_USE, "the devices are used, or nothing tells")
        return
    if used.idle_since is None:
        used = used.model_copy(update={"idle_since": used.as_of})
        d.set(utilization=used)
    since = used.idle_since or used.as_of
    heard = d.status.progress.last_update_time if d.status.progress else None
    if heard is not None and heard > since:
        since = heard
    acts_at = since.timestamp() + idle.after_seconds
    if d.now < acts_at:
        d.clear(c.IDLE, Reason.IN_USE, "progress is reported")
        d.wake(acts_at)
    elif not d.holds(c.IDLE):
        burns = f", at {d.bill.rate.quantize(CENT):f} USD an hour" if d.bill.priced else ""
        words = (
            f"utilization is under {idle.utilization_below} and no progress reported since {since:%H:%M:%S} UTC{burns}"
        )
        d.condition(c.IDLE, True, Reason.LOW_UTILIZATION, words)
        d.announce("Idle", words, warning=True)


def suspension(d: Draft) -> tuple[str, str] | None:
    """(reason, words) where idle devices keep the job suspended: until its spec is changed."""
    if d.job.spec.cost.idle.on_idle == "Warn" or not d.holds(c.IDLE):
        return None
    return Reason.LOW_UTILIZATION, "the devices were idle (cost.idle.onIdle: Suspend); any change of the spec goes on"


def _suspended_for_it(d: Draft) -> bool:
    found = c.find(d.status.conditions, c.IDLE)
    if found is None or found.status != "True" or d.job.spec.cost.idle.on_idle == "Warn":
        return False
    if found.observed_generation == d.job.metadata.generation:
        return True
    d.condition(c.IDLE, False, Reason.IN_USE, "the spec was changed")
    if d.status.utilization is not None:
        d.set(utilization=d.status.utilization.model_copy(update={"idle_since": None}))
    return False
