"""What the job costs and where its time goes, in its status: with every write, and by itself every five minutes."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal

from paceline.api import conditions as c
from paceline.api.base import at
from paceline.api.money import CostStatus, GoodputStatus, Lost
from paceline.api.status import Phase
from paceline.cost import goodput, lookup
from paceline.cost.goodput import Account, Moment, Part
from paceline.cost.ledger import MS_PER_HOUR, Key, Ledger, Stay, observe
from paceline.cost.prices import Purchase
from paceline.plan.books import STORE, plain, read_account, read_ledger, write_ledger
from paceline.plan.draft import Draft
from paceline.plan.observed import PodRecord

# A job that changes nothing and reports nothing is written this often while it costs: 5,000 such jobs are 17 writes a second.
REFRESH_SECONDS = 300
USD = Decimal("0.0001")
STARTUP: tuple[Part, ...] = ("pulling", "starting", "rendezvous")
PURCHASE: dict[str, Purchase] = {"onDemand": "on-demand", "spot": "spot", "owned": "owned"}


def account(d: Draft) -> None:
    """Last of all steps: it judges the time by what the others have decided."""
    cost, now = d.job.status.cost, int(d.now * 1000)
    known = read_ledger(cost)
    seen = stays(d, known)
    ledger = observe(known, seen, int(cost.as_of.timestamp()) * 1000 if cost else now, now)
    _say_what_has_no_price(d, ledger)
    old, part = read_account(d.job.status.goodput), _part(d)
    changed = part != old.part or _changed(known, seen) or d.status != d.job.status
    due = 0.0 if cost is None else cost.as_of.timestamp() + REFRESH_SECONDS
    costs = any(stay.end is None for stay in ledger.known().values())
    if not changed and not (costs and d.now >= due):
        if costs:
            d.wake(due)
        return
    d.set(**_status(d, ledger, old, part, now))
    if costs:
        d.wake(d.now + REFRESH_SECONDS)


def stays(d: Draft, known: Ledger) -> Mapping[Key, Stay]:
    """The bound pods that can be seen, and those that have left since the last write, each at its price."""
    found: dict[Key, Stay] = {}
    for pod in (*d.seen.departed, *d.seen.pods):
        if pod.scheduled_at is None:
            continue
        start, name = int(pod.scheduled_at) * 1000, _name(pod)
        before = known.known().get((name, start))
        if before is not None and before.price.usd is not None:
            price = before.price
        else:
            node, spec = d.seen.nodes.get(pod.node), d.job.spec.cost
            asked = None if spec.capacity_type is None else PURCHASE[spec.capacity_type]
            book = d.seen.books.get(spec.price_book)
            price = lookup.price(pod.asks, node.host if node else None, book, asked, spec.price_book)
        end = None if pod.ended_at is None else int(pod.ended_at) * 1000
        found[name, start] = Stay(start, end, price)
    return found


def _name(pod: PodRecord) -> str:
    return STORE if pod.role == "rendezvous" else f"{pod.attempt}-{pod.index}-{pod.replacement}"


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


def _say_what_has_no_price(d: Draft, ledger: Ledger) -> None:
    there = [stay for stay in ledger.known().values() if stay.end is None]
    without = [stay.price.why for stay in there if stay.price.usd is None]
    if without:
        message = f"{without[0]}; hours without a price are counted, and are in no sum of dollars"
        d.condition(c.PRICE_UNKNOWN, True, c.Reason.NO_PRICE, message)
    elif there:
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
    return running is not None and running.status == "True" and last >= running.last_transition_time.timestamp()


def _status(d: Draft, ledger: Ledger, old: Account, part: Part, now: int) -> dict[str, object]:
    totals, end = ledger.totals(now), d.status.completion_time
    accrued = totals.usd.quantize(USD)
    created = int(d.job.metadata.creation_timestamp.timestamp()) * 1000
    wall = (now if end is None else min(now, int(end.timestamp()) * 1000)) - created
    new = old.advance(wall, accrued, part)
    if steps := _lost_steps(d):
        done = d.job.status.progress.step if d.job.status.progress else None
        new = new.lose(steps, new.ms.get("training", 0) // max(done or 0, steps))
    before = d.job.status.cost
    # A price of 0 is one, also when its pods are gone.
    told_before = before is not None and before.accrued_usd is not None
    priced = told_before or any(stay.price.usd is not None for stay in ledger.known().values())
    usd, ratio, rate = new.usd, new.ratio(), ledger.rate()
    lost = Lost(
        wasted_progress=plain(usd.get("lost", Decimal(0))),
        recovery=plain(usd.get("recovering", Decimal(0))),
        startup=plain(sum((usd.get(p, Decimal(0)) for p in STARTUP), Decimal(0))),
    )
    failures = usd.get("lost", Decimal(0)) + usd.get("recovering", Decimal(0))
    newest = max(ledger.known().values(), key=lambda s: (s.price.usd is not None, s.price.gpus, s.start), default=None)
    cost = CostStatus(
        accrued_usd=f"{accrued:f}" if priced else None,
        hourly_rate_usd=f"{rate.quantize(USD):f}" if priced else None,
        forecast_usd=_forecast(d, accrued, rate, ratio),
        lost_usd=lost if priced else None,
        spot_savings_usd=f"{(totals.spot_savings - failures).quantize(USD):f}" if totals.spot_savings else None,
        uncertain_usd=f"{totals.uncertain.quantize(USD):f}" if totals.uncertain else None,
        gpu_hours=f"{(Decimal(totals.gpu_ms) / MS_PER_HOUR).quantize(USD):f}",
        cpu_hours=f"{(totals.cpu_ms / MS_PER_HOUR).quantize(USD):f}",
        price_source=(newest.price.source[:512] or None) if newest else (before.price_source if before else None),
        price_as_of=(newest.price.as_of or None) if newest else (before.price_as_of if before else None),
        as_of=at(d.now),
        ledger=write_ledger(ledger),
    )
    told = GoodputStatus(
        ratio=None if ratio is None else f"{ratio:.3f}",
        part=new.part,
        seconds={name: plain(Decimal(ms) / 1000) for name, ms in new.ms.items() if ms},
        usd={name: plain(dollars) for name, dollars in new.usd.items() if dollars},
    )
    return {"cost": cost, "goodput": told}


def _lost_steps(d: Draft) -> int:
    """Steps that were reported once and had to be done again: the count went back since the last write."""
    before, after = d.job.status.progress, d.status.progress
    if before is None or after is None or before.step is None or after.step is None or after.step >= before.step:
        return 0
    resumed = d.status.checkpoint.resumed_from_step if d.status.checkpoint else None
    return before.step - min(after.step, resumed if resumed is not None else after.step)


def _forecast(d: Draft, accrued: Decimal, rate: Decimal, ratio: float | None) -> str | None:
    """None where the program does not say how long it still takes: nothing is guessed."""
    remaining = d.status.progress.eta_seconds if d.status.progress else None
    if d.status.completion_time is not None or remaining is None or not rate or not ratio:
        return None
    return f"{goodput.forecast(accrued, rate, remaining, ratio).quantize(USD):f}"
