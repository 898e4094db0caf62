"""The ledger and the goodput as they stand in a job's status, and back."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import replace
from datetime import date, timedelta
from decimal import Decimal

from paceline.api.base import at
from paceline.api.money import CostStatus, Day, GoodputStatus, LedgerClosed, LedgerStatus, LedgerStay
from paceline.cost.goodput import PARTS, Account
from paceline.cost.ledger import Days, Key, Ledger, Stay, Totals
from paceline.cost.lookup import NANO, Price

STORE = "rdzv"
EPOCH = date(1970, 1, 1)


def read_ledger(status: CostStatus | None) -> Ledger:
    if status is None:
        return Ledger()
    closed, stays = status.ledger.closed, status.ledger.stays
    totals = Totals(
        Decimal(closed.usd),
        Decimal(closed.gpu_usd),
        Decimal(closed.spot_savings_usd),
        Decimal(closed.uncertain_usd),
        int(Decimal(closed.gpu_seconds) * 1000),
        Decimal(closed.cpu_seconds) * 1000,
        int(Decimal(closed.unpriced_seconds) * 1000),
    )
    known: dict[Key, Stay] = {}
    for group in stays:
        start = int(group.start.timestamp()) * 1000
        price = Price(
            _decimal(group.usd_per_hour),
            _decimal(group.on_demand_usd_per_hour),
            group.gpus,
            Decimal(group.cpus),
            group.source,
            group.as_of,
            group.gpu_model,
            group.capacity_type,
        )
        end = None if group.end is None else int(group.end.timestamp()) * 1000
        known |= {(name, start): Stay(start, end, price) for name in spread(group.pods)}
    return Ledger(
        totals, known, {(date.fromisoformat(each.date) - EPOCH).days: Decimal(each.usd) for each in closed.days}
    )


def write_ledger(ledger: Ledger) -> LedgerStatus:
    c = ledger.closed
    closed = LedgerClosed(
        usd=plain(c.usd.quantize(NANO)),
        gpu_usd=plain(c.gpu_usd.quantize(NANO)),
        days=write_days(ledger.closed_days, NANO, c.usd.quantize(NANO)),
        spot_savings_usd=plain(c.spot_savings.quantize(NANO)),
        uncertain_usd=plain(c.uncertain.quantize(NANO)),
        gpu_seconds=plain(Decimal(c.gpu_ms) / 1000),
        cpu_seconds=plain(c.cpu_ms / 1000),
        unpriced_seconds=plain(Decimal(c.unpriced_ms) / 1000),
    )
    groups: defaultdict[tuple[Stay, str], list[str]] = defaultdict(list)
    for (name, _), stay in sorted(ledger.known().items()):
        bare = Stay(stay.start, stay.end, replace(stay.price, why=""))
        attempt, _, replacement = name.split("-") if name != STORE else (name, "", "")
        groups[bare, f"{attempt}-{replacement}"].append(name)
    stays = [
        LedgerStay(
            pods=gather(names),
            start=at(stay.start / 1000),
            end=None if stay.end is None else at(stay.end / 1000),
            usd_per_hour=None if stay.price.usd is None else plain(stay.price.usd),
            on_demand_usd_per_hour=None if stay.price.on_demand is None else plain(stay.price.on_demand),
            gpus=stay.price.gpus,
            cpus=plain(stay.price.cpus),
            source=stay.price.source[:512],
            as_of=stay.price.as_of,
            gpu_model=stay.price.gpu_model[:63],
            capacity_type=stay.price.capacity,
        )
        for (stay, _), names in groups.items()
    ]
    return LedgerStatus(closed=closed, stays=stays)


def write_days(days: Days, unit: Decimal, total: Decimal) -> list[Day]:
    """Oldest first, rounded to ``unit`` so that they sum to ``total``, which is the rounded sum."""
    found, exact, told = [], Decimal(0), Decimal(0)
    for number, (day, usd) in enumerate(days.items(), 1):
        exact += usd
        part = (total if number == len(days) else exact.quantize(unit)) - told
        told += part
        found.append(Day(date=(EPOCH + timedelta(day)).isoformat(), usd=plain(part)))
    return found


def read_account(status: GoodputStatus | None) -> Account:
    if status is None:
        return Account()
    ms = {part: int(Decimal(status.seconds[part]) * 1000) for part in PARTS if part in status.seconds}
    usd = {part: Decimal(status.usd[part]) for part in PARTS if part in status.usd}
    return Account(ms, usd, next((part for part in PARTS if part == status.part), "queued"))


def gather(names: Iterable[str]) -> str:
    """1-0-0, 1-1-0, 1-3-0 as 1-0..1,3-0: pods of one attempt and replacement."""
    split = [name.split("-") for name in names]
    if split[0] == [STORE]:
        return STORE
    runs: list[list[int]] = []
    for index in sorted(int(part[1]) for part in split):
        if runs and runs[-1][1] == index - 1:
            runs[-1][1] = index
        else:
            runs.append([index, index])
    ranges = ",".join(str(a) if a == b else f"{a}..{b}" for a, b in runs)
    return f"{split[0][0]}-{ranges}-{split[0][2]}"


def spread(pods: str) -> list[str]:
    """What ``gather`` made one of."""
    if pods == STORE:
        return [STORE]
    attempt, ranges, replacement = pods.split("-")
    indices: list[int] = []
    for each in ranges.split(","):
        first, _, last = each.partition("..")
        indices += range(int(first), int(last or first) + 1)
    return [f"{attempt}-{index}-{replacement}" for index in indices]


def plain(number: Decimal) -> str:
    """Without exponent and trailing zeros."""
    text = f"{number:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def _decimal(text: str | None) -> Decimal | None:
    return None if text is None else Decimal(text)
