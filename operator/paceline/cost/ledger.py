"""The ledger: what each pod of a job cost, from being bound to its node to the end of its last container.

Nothing is sampled. A pod that can be seen is counted from its own timestamps; what has ended is added to ``closed`` once, when
the pod can be seen no more. So an event may be lost, doubled or late, and the operator may restart at any point: whoever holds
the ledger that was written last, and sees the pods that there are, comes to the same sum.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from decimal import Decimal

from paceline.cost.lookup import Price

MS_PER_HOUR = 3_600_000


@dataclass(frozen=True, slots=True)
class Totals:
    """Dollars as decimals, devices and cores times milliseconds."""

    usd: Decimal = Decimal(0)
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
        ms = max(0, (now if self.end is None else min(self.end, now)) - self.start)
        price, hours = self.price, Decimal(ms) / MS_PER_HOUR
        if price.usd is None:
            return Totals(gpu_ms=price.gpus * ms, cpu_ms=price.cpus * ms, unpriced_ms=ms)
        saved = Decimal(0) if price.on_demand is None else (price.on_demand - price.usd) * hours
        return Totals(price.usd * hours, saved, Decimal(0), price.gpus * ms, price.cpus * ms)


# A pod's name and when it was bound: a name may come again, but not bound at the same time.
Key = tuple[str, int]


@dataclass(frozen=True, slots=True)
class Ledger:
    closed: Totals = Totals()
    stays: Mapping[Key, Stay] | None = None

    def known(self) -> Mapping[Key, Stay]:
        return self.stays or {}

    def totals(self, now: int) -> Totals:
        return sum((stay.cost(now) for stay in self.known().values()), self.closed)

    def rate(self) -> Decimal:
        """USD an hour of the pods that are there now."""
        there = (stay.price.usd for stay in self.known().values() if stay.end is None)
        return sum((usd for usd in there if usd is not None), Decimal(0))


def observe(ledger: Ledger, seen: Mapping[Key, Stay], written: int, now: int) -> Ledger:
    """The ledger after a look at the pods. ``seen``: those in the API, and those that have left it since the ledger was written
    last (at ``written``). Of a known pod that is not among them nobody saw the end: it ends now, and the time since ``written``
    is said to be uncertain."""
    closed, stays = ledger.closed, dict(seen)
    for key, known in ledger.known().items():
        fresh = seen.get(key)
        if fresh is None:
            closed += _ended(known, written, now)
        elif known.price.usd is not None:
            stays[key] = replace(fresh, price=known.price)  # the price in force when it was bound
    return Ledger(closed, stays)


def _ended(known: Stay, written: int, now: int) -> Totals:
    total = known.cost(now)
    if known.end is None and known.price.usd is not None:
        unseen = max(0, now - max(written, known.start))
        total = replace(total, uncertain=known.price.usd * unseen / MS_PER_HOUR)
    return total
