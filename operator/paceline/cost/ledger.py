"""The ledger: what each pod of a job cost, from being bound to its node to the end of its last container.

Nothing is sampled. A pod that can be seen is counted from its own timestamps; what has ended is added to ``closed`` once, when
the pod can be seen no more. So an event may be lost, doubled or late, and the operator may restart at any point: whoever holds
the ledger that was written last, and sees the pods that there are, comes to the same sum.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from decimal import Decimal

from paceline.cost.lookup import Price

MS_PER_HOUR = 3_600_000
MS_PER_DAY = 24 * MS_PER_HOUR
# Days that are kept apart; what was spent before is in the first.
DAYS = 92

# Dollars by day: days since 1970 in UTC.
Days = Mapping[int, Decimal]


@dataclass(frozen=True, slots=True)
class Totals:
    """Dollars as decimals, devices and cores times milliseconds."""

    usd: Decimal = Decimal(0)
    # Of usd, what pods with devices cost.
    gpu_usd: Decimal = Decimal(0)
    # What spot machines saved against their price on demand, before what preemptions lost.
    spot_savings: Decimal = Decimal(0)
    # Of usd, what rests on pods that vanished while nobody watched: at most this much too much.
    uncertain: Decimal = Decimal(0)
    gpu_ms: int = 0
    cpu_ms: Decimal = Decimal(0)
    # Of gpu_ms and of pods' time, what had no price.
    unpriced_ms: int = 0

    def __add__(self, other: Totals) -> Totals:
        return Totals(
            self.usd + other.usd,
            self.gpu_usd + other.gpu_usd,
            self.spot_savings + other.spot_savings,
            self.uncertain + other.uncertain,
            self.gpu_ms + other.gpu_ms,
            self.cpu_ms + other.cpu_ms,
            self.unpriced_ms + other.unpriced_ms,
        )


@dataclass(frozen=True, slots=True)
class Stay:
    """A pod on its node. ``start`` and ``end`` in ms of Unix time; ``end`` None: it is there still."""

    start: int
    end: int | None
    price: Price

    def cost(self, now: int) -> Totals:
        """Up to ``now``. A clock that runs backwards costs nothing."""
        ms = self._until(now) - self.start
        price, hours = self.price, Decimal(ms) / MS_PER_HOUR
        if price.usd is None:
            return Totals(gpu_ms=price.gpus * ms, cpu_ms=price.cpus * ms, unpriced_ms=ms)
        usd = price.usd * hours
        saved = Decimal(0) if price.on_demand is None else (price.on_demand - price.usd) * hours
        return Totals(usd, usd if price.gpus else Decimal(0), saved, Decimal(0), price.gpus * ms, price.cpus * ms)

    def days(self, now: int) -> Days:
        """Its dollars by day."""
        at, end, found = self.start, self._until(now), dict[int, Decimal]()
        while self.price.usd is not None and at < end:
            day = at // MS_PER_DAY
            until = min(end, (day + 1) * MS_PER_DAY)
            found[day], at = self.price.usd * (until - at) / MS_PER_HOUR, until
        return found

    def _until(self, now: int) -> int:
        return max(self.start, now if self.end is None else min(self.end, now))


# A pod's name and when it was bound: a name may come again, but not bound at the same time.
Key = tuple[str, int]


@dataclass(frozen=True, slots=True)
class Ledger:
    closed: Totals = Totals()
    stays: Mapping[Key, Stay] | None = None
    # closed.usd by day.
    closed_days: Days = field(default_factory=dict)

    def known(self) -> Mapping[Key, Stay]:
        return self.stays or {}

    def totals(self, now: int) -> Totals:
        return sum((stay.cost(now) for stay in self.known().values()), self.closed)

    def days(self, now: int) -> Days:
        """The dollars by day, oldest first."""
        return _together([self.closed_days, *(stay.days(now) for stay in self.known().values())])

    def rate(self) -> Decimal:
        """USD an hour of the pods that are there now."""
        there = (stay.price.usd for stay in self.known().values() if stay.end is None)
        return sum((usd for usd in there if usd is not None), Decimal(0))


def observe(ledger: Ledger, seen: Mapping[Key, Stay], written: int, now: int) -> Ledger:
    """The ledger after a look at the pods. ``seen``: those in the API, and those that have left it since the ledger was written
    last (at ``written``). Of a known pod that is not among them nobody saw the end: it ends now, and the time since ``written``
    is said to be uncertain."""
    closed, stays, gone = ledger.closed, dict(seen), list[Days]()
    for key, known in ledger.known().items():
        fresh = seen.get(key)
        if fresh is None:
            closed += _ended(known, written, now)
            gone.append(known.days(now))
        elif known.price.usd is not None:
            stays[key] = replace(fresh, price=known.price)  # the price in force when it was bound
    return Ledger(closed, stays, _together([ledger.closed_days, *gone]) if gone else ledger.closed_days)


def _ended(known: Stay, written: int, now: int) -> Totals:
    total = known.cost(now)
    if known.end is None and known.price.usd is not None:
        unseen = max(0, now - max(written, known.start))
        total = replace(total, uncertain=known.price.usd * unseen / MS_PER_HOUR)
    return total


def _together(parts: Iterable[Days]) -> Days:
    found: defaultdict[int, Decimal] = defaultdict(Decimal)
    for part in parts:
        for day, usd in part.items():
            found[day] += usd
    days = sorted(found)
    oldest, newest = days[:-DAYS], days[-DAYS:]
    kept = {day: found[day] for day in newest}
    if oldest:
        kept[newest[0]] += sum((found[day] for day in oldest), Decimal(0))
    return kept
