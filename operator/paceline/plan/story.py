"""What `kubectl describe` tells of a job's money: when it started, what a failure cost, what it was all for."""

from __future__ import annotations

from decimal import Decimal

from paceline.cost.goodput import Account
from paceline.plan.bill import USD
from paceline.plan.draft import Draft
from paceline.plan.progress import duration

CENT = Decimal("0.01")


def tell(d: Draft, old: Account, new: Account) -> None:
    """With every write of the account, which goes from ``old`` to ``new``."""
    _price_the_failure(d, old, new)
    if d.job.status.running_time is None and d.status.running_time is not None:
        waited = duration(int(d.status.running_time.timestamp() - d.job.metadata.creation_timestamp.timestamp()))
        d.announce("Started", f"{d.gang.running} workers run, {waited} after creation{_rate(d)}")


def total(d: Draft) -> str:
    """The bill of a job that ends now, as the end of a sentence; empty where no price is known."""
    if not d.bill.priced:
        return ""
    took = duration(int(d.now - d.job.metadata.creation_timestamp.timestamp()))
    return f"; {d.bill.accrued.quantize(CENT):f} USD in {took}"


def _rate(d: Draft) -> str:
    return f", at {d.bill.rate.quantize(CENT):f} USD an hour" if d.bill.priced else ""


def _price_the_failure(d: Draft, old: Account, new: Account) -> None:
    """Adds what was lost since the last write to the failure that took it; tells the sum when training goes on."""
    last = d.status.last_failure
    if last is None or not d.bill.priced:
        return
    more = new.failures_usd() - old.failures_usd()
    cost = Decimal(last.cost_usd or 0) + more
    if more:
        d.set(last_failure=last.model_copy(update={"cost_usd": f"{cost.quantize(USD):f}"}))
    if old.part == "recovering" and new.part == "training":
        took = duration(int(d.now - last.time.timestamp()))
        d.announce("Recovered", f"training goes on {took} after {last.cause}; it cost {cost.quantize(CENT):f} USD")
