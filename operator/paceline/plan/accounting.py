"""What the job costs and where its time goes, in its status: with every write, and by itself every five to ten minutes."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from paceline.api import conditions as c
from paceline.api.base import at
from paceline.api.money import CostStatus, GoodputStatus, Lost, ReportedSeconds, UnitCost
from paceline.api.status import Phase
from paceline.cost import goodput
from paceline.cost.goodput import Account, Moment, Part
from paceline.cost.ledger import MS_PER_HOUR, Key, Ledger, Stay
from paceline.plan import pace, story, usage
from paceline.plan.bill import USD
from paceline.plan.books import plain, read_account, write_days, write_ledger
from paceline.plan.draft import Draft
from paceline.plan.figures import sensible

# How long a report may be under way: the trainer sends one every two seconds, and gives it five to arrive.
ECHO_SECONDS = 5
STARTUP: tuple[Part, ...] = ("pulling", "starting", "rendezvous")


def account(d: Draft) -> None:
    """Last of all steps: it judges the time by what the others have decided."""
    cost, bill = d.job.status.cost, d.bill
    _say_what_has_no_price(d)
    old, part = read_account(d.job.status.goodput), _part(d)
    changed = usage.crossed(d) or part != old.part or _changed(bill.known, bill.seen) or d.status != d.job.status
    every = pace.refresh_every(d.seen.jobs)
    due = 0.0 if cost is None else cost.as_of.timestamp() + every
    costs = bool(bill.there)
    if not changed and not (costs and d.now >= due):
        if costs:
            d.wake(due)
        return
    new, reported = _advanced(d, old, part)
    story.tell(d, old, new)
    # The account knows to the millisecond when it was written; once the job has ended it stands still.
    written = max(_created(d) + old.total_ms, 0 if cost is None else int(cost.as_of.timestamp()) * 1000)
    idle_usd = usage.weigh(d, written)
    d.set(cost=_cost(d, new, idle_usd), goodput=_goodput(new, reported))
    if costs:
        d.wake(d.now + every)


def _changed(known: Ledger, seen: Mapping[Key, Stay]) -> bool:
    """Has a pod come, ended, vanished or got its price? Ended ones that are merely gone from the API change no sum."""
    before = known.known()
    if any(stay.end is None and key not in seen for key, stay in before.items()):
        return True
    for key, stay in seen.items():
        old = before.get(key)
        if old is None or old.end != stay.end or (old.price.usd is None) != (stay.price.usd is None):
            return True
    return False


def _say_what_has_no_price(d: Draft) -> None:
    if without := d.bill.without_price:
        message = f"{without[0]}; hours without a price are counted, and are in no sum of dollars"
        d.condition(c.PRICE_UNKNOWN, True, c.Reason.NO_PRICE, message)
    elif d.bill.there:
        d.clear(c.PRICE_UNKNOWN, c.Reason.PRICED, "the prices of all pods are known")


def _part(d: Draft) -> Part:
    gang, phase = d.gang, d.status.phase
    if d.holds(c.COMPLETE) or d.holds(c.FAILED):
        return read_account(d.job.status.goodput).part  # the clock stands
    stepped = _stepped(d)
    return goodput.part_of(
        Moment(
            wanted=d.wanted,
            bound=sum(p.scheduled_at is not None for p in gang.live),
            running=gang.running,
            suspended=phase in (Phase.SUSPENDING, Phase.SUSPENDED),
            recovering=d.holds(c.RECOVERING) or (d.status.last_failure is not None and stepped is False),
            whole=d.holds(c.RUNNING),
            stepped=stepped,
        )
    )


def _stepped(d: Draft) -> bool | None:
    """Was a step reported since the gang began to run? None where the program has never reported, and need not."""
    progress, running = d.status.progress, c.find(d.status.conditions, c.RUNNING)
    last = d.seen.report.time if d.seen.report else None
    if last is None and progress is not None and progress.last_update_time is not None:
        last = progress.last_update_time.timestamp()
    if last is None:
        return None if d.job.spec.recipe is None else False
    if running is None or running.status != "True":
        return False
    # The last word of those that trained before a failure may arrive when the gang is whole again.
    echo = ECHO_SECONDS if d.status.last_failure is not None else 0
    return last >= running.last_transition_time.timestamp() + echo


def _created(d: Draft) -> int:
    return int(d.job.metadata.creation_timestamp.timestamp()) * 1000


def _advanced(d: Draft, old: Account, part: Part) -> tuple[Account, ReportedSeconds | None]:
    """The account by now: what is new since the last write belongs to the part that held until now, or to what the program
    says that it did meanwhile."""
    end = d.status.completion_time
    wall = (d.bill.now if end is None else min(d.bill.now, int(end.timestamp()) * 1000)) - _created(d)
    new, reported = usage.set_apart(d, old.advance(wall, d.bill.accrued, part))
    if steps := _lost_steps(d):
        done = d.job.status.progress.step if d.job.status.progress else None
        new = new.lose(steps, new.ms.get("training", 0) // max(done or 0, steps))
    return new, reported


def _cost(d: Draft, account: Account, idle_usd: str | None) -> CostStatus:
    bill, totals, before = d.bill, d.bill.totals, d.job.status.cost
    stays = bill.ledger.known().values()
    newest = max(stays, key=lambda s: (s.price.usd is not None, s.price.gpus, s.start), default=None)
    known: dict[str, Any] = {}
    if bill.priced:
        known = {
            "accrued_usd": f"{bill.accrued:f}",
            "idle_usd": idle_usd,
            "gpu_usd": f"{totals.gpu_usd.quantize(USD):f}",
            "hourly_rate_usd": f"{bill.rate.quantize(USD):f}",
            "days": write_days(bill.ledger.days(bill.now), USD, bill.accrued),
            "lost_usd": _lost(account),
            "unit": _unit(d),
        }
        if d.job.spec.cost.budget is not None:
            known["budget_used_ratio"] = _ratio(bill.accrued, Decimal(d.job.spec.cost.budget.max_usd))
        if d.forecast is not None and d.status.completion_time is None:
            known["forecast_usd"] = f"{d.forecast:f}"
            known["forecast_basis"] = (
                f"{d.remaining_seconds} s remain, as the program says; {d.pace:.3f} of the time trains, by what failures "
                f"took so far; {bill.rate.quantize(USD):f} USD an hour"
            )
    if totals.spot_savings:
        known["spot_savings_usd"] = f"{(totals.spot_savings - account.failures_usd()).quantize(USD):f}"
    if totals.uncertain:
        known["uncertain_usd"] = f"{totals.uncertain.quantize(USD):f}"
    return CostStatus(
        **known,
        gpu_hours=f"{(Decimal(totals.gpu_ms) / MS_PER_HOUR).quantize(USD):f}",
        cpu_hours=f"{(totals.cpu_ms / MS_PER_HOUR).quantize(USD):f}",
        price_source=(newest.price.source[:512] or None) if newest else (before.price_source if before else None),
        price_as_of=(newest.price.as_of or None) if newest else (before.price_as_of if before else None),
        gpu_model=(newest.price.gpu_model[:63] or None) if newest else (before.gpu_model if before else None),
        capacity_type=(newest.price.capacity or None) if newest else (before.capacity_type if before else None),
        as_of=at(d.now),
        ledger=write_ledger(bill.ledger),
    )


def _lost(account: Account) -> Lost:
    usd = account.usd
    return Lost(
        wasted_progress=plain(usd.get("lost", Decimal(0))),
        recovery=plain(usd.get("recovering", Decimal(0))),
        startup=plain(sum((usd.get(p, Decimal(0)) for p in STARTUP), Decimal(0))),
    )


def _unit(d: Draft) -> UnitCost | None:
    """What was got for the money, as far as the program says what it got."""
    progress, spent = d.status.progress, d.bill.accrued
    if progress is None:
        return None
    epochs = sensible(progress.epoch) or Decimal(0)
    of_samples = f"{(spent / progress.samples * 1_000_000).quantize(USD):f}" if progress.samples else None
    of_epochs = f"{(spent / epochs).quantize(USD):f}" if epochs > 0 else None
    return UnitCost(million_samples_usd=of_samples, epoch_usd=of_epochs) if of_samples or of_epochs else None


def _ratio(spent: Decimal, limit: Decimal) -> str | None:
    return f"{spent / limit:.4f}" if limit else None


def _goodput(account: Account, reported: ReportedSeconds | None) -> GoodputStatus:
    ratio = account.ratio()
    return GoodputStatus(
        ratio=None if ratio is None else f"{ratio:.3f}",
        part=account.part,
        seconds={name: plain(Decimal(ms) / 1000) for name, ms in account.ms.items() if ms},
        usd={name: plain(dollars) for name, dollars in account.usd.items() if dollars},
        reported=reported,
    )


def _lost_steps(d: Draft) -> int:
    """Steps that were reported once and had to be done again: the count went back since the last write."""
    before, after = d.job.status.progress, d.status.progress
    if before is None or after is None or before.step is None or after.step is None or after.step >= before.step:
        return 0
    resumed = d.status.checkpoint.resumed_from_step if d.status.checkpoint else None
    return before.step - min(after.step, resumed if resumed is not None else after.step)
