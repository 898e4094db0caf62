"""How much of the devices is used: whose word holds, what was paid for without use, and how training's time was spent."""

from __future__ import annotations

from decimal import Decimal

from paceline.api import conditions as c
from paceline.api.base import at
from paceline.api.money import ReportedSeconds, Utilization
from paceline.cost.goodput import Account, Part
from paceline.plan.bill import USD
from paceline.plan.books import plain
from paceline.plan.draft import Draft
from paceline.plan.idle import FRESH_SECONDS

MILLI = Decimal("0.001")
# The idle clock runs on while a low utilization is confirmed: well before what stands in the status is too old to count.
CONFIRM_SECONDS, LOOK_SECONDS = FRESH_SECONDS / 2, 30


def known(d: Draft) -> Utilization | None:
    """The newest word: of whoever measures, else the program's own; None where none is fresh."""
    measured, report = d.seen.measured, d.seen.report
    own = report.usage if report is not None and _fresh(report.time, d.now) and _trains(d) else None
    mfu = None if own is None or own.mfu is None else _figure(own.mfu)
    if measured is not None and _fresh(measured.time, d.now):
        ratio = _figure(min(max(measured.utilization, 0.0), 1.0))
        return Utilization(ratio=ratio, mfu_ratio=mfu, source=measured.source[:256], as_of=at(measured.time))
    if report is None or own is None or own.utilization is None:
        return None
    source = f"the program: {own.of or 'not said of what'}"
    return Utilization(ratio=_figure(own.utilization), mfu_ratio=mfu, source=source, as_of=at(report.time))


def crossed(d: Draft) -> bool:
    """Is there that to write which ``idle.look`` waits for? Figures that merely moved wait for other changes."""
    new, old = known(d), _held(d)
    if new is None or old is None:
        return new is not None
    low = _low(d, new)
    if low != _low(d, old):
        return True
    confirm_at = old.as_of.timestamp() + CONFIRM_SECONDS
    if low and d.now >= confirm_at and new.as_of > old.as_of:
        return True
    if low:  # nobody says that a figure which did not move was measured again
        d.wake(max(confirm_at, d.now + LOOK_SECONDS))
    return False


def weigh(d: Draft, written: int) -> str | None:
    """Writes the utilization, and weighs by the one that held since the status was ``written`` (ms of Unix time) what the pods
    cost since, for as long as it was fresh; ``cost.idleUSD``. Time in which nothing was known is in neither sum."""
    new, held, last = known(d), _held(d), d.status.utilization
    idle = d.job.status.cost.idle_usd if d.job.status.cost else None
    active = last.active_gpu_seconds if last else None
    if new is not None and held is not None and held.ratio is not None:
        until = max(written, min(d.bill.now, int(held.as_of.timestamp() + FRESH_SECONDS) * 1000))
        then, now, ratio = d.bill.ledger.totals(written), d.bill.ledger.totals(until), Decimal(held.ratio)
        if d.bill.priced:
            idle = f"{wasted(Decimal(idle or 0), now.usd - then.usd, ratio, d.bill.accrued):f}"
        if now.gpu_ms:
            more = Decimal(now.gpu_ms - then.gpu_ms) / 1000 * ratio
            active = plain((Decimal(active or 0) + more).quantize(MILLI))
    if new is not None:
        kept = {"active_gpu_seconds": active, "idle_since": last.idle_since if last else None}
        d.set(utilization=new.model_copy(update=kept))
    elif last is not None:
        d.set(utilization=last.model_copy(update={"active_gpu_seconds": active}))
    return idle


def wasted(before: Decimal, spent: Decimal, ratio: Decimal, accrued: Decimal) -> Decimal:
    """``before`` and what was not used of the dollars ``spent`` since, at most all that was ``accrued``."""
    return min((before + max(Decimal(0), spent) * (1 - ratio)).quantize(USD), accrued)


def set_apart(d: Draft, account: Account) -> tuple[Account, ReportedSeconds | None]:
    """Evaluating and saving, which were taken for training. What the program reports counts from its process' beginning: only
    what is more than the last time is new, and a report of a process before the newest one is late."""
    before = d.job.status.goodput.reported if d.job.status.goodput else None
    usage = d.seen.report.usage if d.seen.report else None
    if usage is None or usage.since is None or (before is not None and at(usage.since) < before.since):
        return account, before
    since = at(usage.since)
    seen = before if before is not None and before.since == since else ReportedSeconds(since=since)
    account, evaluation = _more(account, "evaluation", seen.evaluation_seconds, usage.evaluation_seconds)
    account, checkpoint = _more(account, "checkpoint", seen.checkpoint_seconds, usage.checkpoint_seconds)
    return account, ReportedSeconds(since=since, evaluation_seconds=evaluation, checkpoint_seconds=checkpoint)


def _more(account: Account, part: Part, seen: str, told: float | None) -> tuple[Account, str]:
    before = int(Decimal(seen) * 1000)
    by_now = max(before, int((told or 0) * 1000))
    return account.set_apart(part, by_now - before), plain(Decimal(by_now) / 1000)


def _held(d: Draft) -> Utilization | None:
    """What the status said when it was written last, if it was fresh then."""
    used, cost = d.job.status.utilization, d.job.status.cost
    if used is None or cost is None or not _fresh(used.as_of.timestamp(), cost.as_of.timestamp()):
        return None
    return used


def _trains(d: Draft) -> bool:
    """What the program said before a failure or a suspension says nothing of the time since."""
    return d.holds(c.RUNNING) or d.holds(c.COMPLETE)


def _low(d: Draft, used: Utilization) -> bool:
    return Decimal(used.ratio or 0) < Decimal(d.job.spec.cost.idle.utilization_below)


def _fresh(told: float, now: float) -> bool:
    return now < told + FRESH_SECONDS


def _figure(ratio: float) -> str:
    return f"{ratio:.3f}"
