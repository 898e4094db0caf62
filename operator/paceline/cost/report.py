"""What jobs have cost by a moment: a line each, summed by job, namespace, team or day. Dollars are exact decimals."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Literal

from paceline.api.money import CostStatus
from paceline.api.trainingjob import TrainingJob
from paceline.cost.ledger import DAYS, MS_PER_HOUR, Ledger

By = Literal["job", "namespace", "team", "day"]
# As the status tells dollars and hours.
UNIT = Decimal("0.0001")
EPOCH = date(1970, 1, 1)
# A status of a job that costs is written every ten minutes at least; one that is older than this has no operator any more.
STALE_SECONDS = 900
ZERO = Decimal(0)


@dataclass(frozen=True, slots=True)
class Line:
    """A job. ``days``: its dollars by UTC day, None where they are unknown; ``why`` says why. What is None is unknown, or cannot
    be told of the days that were asked for."""

    namespace: str
    job: str
    team: str
    phase: str
    begun: date
    ended: date | None
    days: Mapping[date, Decimal] | None
    why: str = ""
    usd_per_hour: Decimal | None = None
    gpu_hours: Decimal | None = None
    idle_usd: Decimal | None = None
    lost_usd: Decimal | None = None
    uncertain_usd: Decimal = ZERO
    budget_usd: Decimal | None = None
    # Hours of its pods that had no price, and are in no sum of dollars.
    unpriced_hours: Decimal = ZERO
    # Its first day has all that was spent before, too.
    first_day_holds_more: bool = False
    # It costs, and nobody has written how much for this long.
    stale: timedelta | None = None

    @property
    def usd(self) -> Decimal | None:
        return None if self.days is None else sum(self.days.values(), ZERO)


@dataclass(frozen=True, slots=True)
class Sum:
    """Of some jobs: what is known of any of them; None where it is known of none."""

    key: tuple[str, ...]
    jobs: int
    usd: Decimal | None
    usd_per_hour: Decimal | None
    gpu_hours: Decimal | None
    idle_usd: Decimal | None
    lost_usd: Decimal | None
    lines: tuple[Line, ...] = field(repr=False)


def line(job: TrainingJob, ledger: Ledger, now: datetime) -> Line:
    """``ledger``: the one of the job's status. Pods that have not ended are counted to ``now``, at their rates."""
    cost, end = job.status.cost, job.status.completion_time
    found = Line(
        namespace=job.metadata.namespace,
        job=job.metadata.name,
        team=job.spec.cost.team or "",
        phase=job.status.phase or "Pending",
        begun=job.metadata.creation_timestamp.astimezone(UTC).date(),
        ended=None if end is None else end.astimezone(UTC).date(),
        days=None,
        why="not counted",
        budget_usd=Decimal(job.spec.cost.budget.max_usd) if job.spec.cost.budget else None,
    )
    if cost is None:
        return found
    there = any(stay.end is None for stay in ledger.known().values())
    at = max(int(now.timestamp() * 1000), int(cost.as_of.timestamp() * 1000))
    totals, age = ledger.totals(at), now - cost.as_of
    days: dict[date, Decimal] | None
    if cost.accrued_usd is None:
        days = None if totals.unpriced_ms else {}  # a job none of whose pods ever had a node has cost nothing
    elif there:
        days = _rounded({EPOCH + timedelta(day): usd for day, usd in ledger.days(at).items()})
    else:
        days = {date.fromisoformat(day.date): Decimal(day.usd) for day in cost.days}
    return replace(
        found,
        days=days,
        why="price unknown" if days is None else "",
        usd_per_hour=None if days is None else ledger.rate().quantize(UNIT),
        gpu_hours=(Decimal(totals.gpu_ms) / MS_PER_HOUR).quantize(UNIT),
        idle_usd=None if cost.idle_usd is None else Decimal(cost.idle_usd),
        lost_usd=_lost(cost),
        uncertain_usd=Decimal(cost.uncertain_usd or 0),
        unpriced_hours=(Decimal(totals.unpriced_ms) / MS_PER_HOUR).quantize(UNIT),
        first_day_holds_more=len(cost.days) >= DAYS,
        stale=age if there and age.total_seconds() > STALE_SECONDS else None,
    )


def within(lines: Iterable[Line], since: date | None, until: date | None) -> list[Line]:
    """Of the jobs that there were on these days (both included), the dollars of these days alone; the rest is not kept by day."""
    first, last = since or date.min, until or date.max
    found = []
    for each in lines:
        days = None if each.days is None else {day: usd for day, usd in each.days.items() if first <= day <= last}
        if not days and not (each.begun <= last and (each.ended or date.max) >= first):
            continue
        cut = replace(
            each,
            days=days,
            usd_per_hour=None,
            gpu_hours=None if each.days is not None else each.gpu_hours,
            idle_usd=None,
            lost_usd=None,
            first_day_holds_more=each.first_day_holds_more and bool(days) and min(each.days or ()) >= first,
        )
        found.append(cut)
    return found


def sums(lines: Iterable[Line], by: By) -> list[Sum]:
    """The dearest first, those without dollars last; days in their order."""
    groups: defaultdict[tuple[str, ...], list[Line]] = defaultdict(list)
    for each in lines:
        match by:
            case "job":
                groups[each.namespace, each.job].append(each)
            case "namespace":
                groups[(each.namespace,)].append(each)
            case "team":
                groups[(each.team,)].append(each)
            case "day":
                for day, usd in (each.days or {}).items():
                    groups[(day.isoformat(),)].append(_of_day(each, day, usd))
    found = [total(members, key) for key, members in groups.items()]
    if by == "day":
        return sorted(found, key=lambda s: s.key)
    return sorted(found, key=lambda s: (s.usd is None, -(s.usd or ZERO), s.key))


def total(lines: Iterable[Line], key: tuple[str, ...] = ()) -> Sum:
    members = tuple(lines)
    return Sum(
        key=key,
        jobs=len(members),
        usd=_sum(each.usd for each in members),
        usd_per_hour=_sum(each.usd_per_hour for each in members),
        gpu_hours=_sum(each.gpu_hours for each in members),
        idle_usd=_sum(each.idle_usd for each in members),
        lost_usd=_sum(each.lost_usd for each in members),
        lines=members,
    )


def _of_day(each: Line, day: date, usd: Decimal) -> Line:
    return replace(each, days={day: usd}, usd_per_hour=None, gpu_hours=None, idle_usd=None, lost_usd=None)


def _sum(values: Iterable[Decimal | None]) -> Decimal | None:
    known = [value for value in values if value is not None]
    return sum(known, ZERO) if known else None


def _lost(cost: CostStatus) -> Decimal | None:
    lost = cost.lost_usd
    return None if lost is None else Decimal(lost.wasted_progress) + Decimal(lost.recovery) + Decimal(lost.startup)


def _rounded(days: Mapping[date, Decimal]) -> dict[date, Decimal]:
    """So that the days sum to their rounded sum."""
    exact = told = ZERO
    found = {}
    for day, usd in days.items():
        exact += usd
        found[day] = exact.quantize(UNIT) - told
        told += found[day]
    return found
