"""What a job has cost by now: the ledger of its status, and the pods that can be seen, each at its price."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from functools import cache, cached_property

from paceline.api.trainingjob import TrainingJob
from paceline.cost import lookup
from paceline.cost.ledger import Key, Ledger, Stay, Totals, observe
from paceline.cost.lookup import Amounts, Price
from paceline.cost.prices import Purchase
from paceline.plan.books import STORE, read_ledger
from paceline.plan.observed import Observed, PodRecord

# What is told in dollars is told to a hundredth of a cent.
USD = Decimal("0.0001")
PURCHASE: dict[str, Purchase] = {"onDemand": "on-demand", "spot": "spot", "owned": "owned"}


@dataclass(frozen=True)
class Bill:
    """``known``: the ledger as it was written last; ``seen``: the pods now; ``ledger``: both. ``now``: ms of Unix time."""

    known: Ledger
    seen: Mapping[Key, Stay]
    ledger: Ledger
    now: int
    told_before: bool

    @classmethod
    def of(cls, job: TrainingJob, seen: Observed, now: float) -> Bill:
        cost, ms = job.status.cost, int(now * 1000)
        known = read_ledger(cost)
        here = _stays(job, seen, known)
        ledger = observe(known, here, int(cost.as_of.timestamp()) * 1000 if cost else ms, ms)
        return cls(known, here, ledger, ms, cost is not None and cost.accrued_usd is not None)

    @cached_property
    def totals(self) -> Totals:
        return self.ledger.totals(self.now)

    @property
    def accrued(self) -> Decimal:
        return self.totals.usd.quantize(USD)

    @cached_property
    def rate(self) -> Decimal:
        """USD an hour of the pods that are there."""
        return self.ledger.rate()

    @property
    def there(self) -> list[Stay]:
        """Pods that have not ended."""
        return [stay for stay in self.ledger.known().values() if stay.end is None]

    @property
    def without_price(self) -> list[str]:
        """Why, of each pod that is there and has none."""
        return [stay.price.why for stay in self.there if stay.price.usd is None]

    @property
    def priced(self) -> bool:
        """Is anything known in dollars? A price of 0 is one, also when its pods are gone."""
        return self.told_before or any(stay.price.usd is not None for stay in self.ledger.known().values())


def _stays(job: TrainingJob, seen: Observed, known: Ledger) -> Mapping[Key, Stay]:
    """The bound pods that can be seen, and those that have left since the last write, each at its price."""
    found: dict[Key, Stay] = {}
    asked = None if job.spec.cost.capacity_type is None else PURCHASE[job.spec.cost.capacity_type]
    book = seen.books.get(job.spec.cost.price_book)

    @cache  # the workers of a node ask for the same
    def price_of(asks: Amounts, node: str) -> Price:
        host = seen.nodes[node].host if node in seen.nodes else None
        return lookup.price(asks, host, book, asked, job.spec.cost.price_book)

    for pod in (*seen.departed, *seen.pods):
        if pod.scheduled_at is None:
            continue
        start, name = int(pod.scheduled_at) * 1000, _name(pod)
        before = known.known().get((name, start))
        price = before.price if before is not None and before.price.usd is not None else price_of(pod.asks, pod.node)
        end = None if pod.ended_at is None else int(pod.ended_at) * 1000
        found[name, start] = Stay(start, end, price)
    return found


def _name(pod: PodRecord) -> str:
    return STORE if pod.role == "rendezvous" else f"{pod.attempt}-{pod.index}-{pod.replacement}"
