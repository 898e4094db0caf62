"""What serving a model costs, before and after it was compressed, and when that has paid for itself."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

MILLION, HOUR = Decimal(10**6), Decimal(3600)
DAYS_OF_A_MONTH = Decimal("30.4375")


@dataclass(frozen=True)
class Economics:
    """``before`` and ``after``: USD for a million requests. ``break_even_requests``: None where nothing is saved."""

    before: Decimal
    after: Decimal
    break_even_requests: Decimal | None
    break_even_days: Decimal | None
    saved_per_month: Decimal | None


def usd_per_million(usd_per_hour: Decimal, requests_per_second: Decimal, utilization: Decimal) -> Decimal:
    """Price × 10⁶ ÷ (requests a second × 3,600 × utilization); the last is above 0, as is the rate."""
    return usd_per_hour * MILLION / (requests_per_second * HOUR * utilization)


def economics(
    *,
    usd_per_hour: Decimal,
    before_per_second: Decimal,
    after_per_second: Decimal,
    utilization: Decimal,
    spent: Decimal,
    requests_per_month: int | None,
) -> Economics:
    """``spent``: USD of every stage, trial and recovery. Rates are requests that one server answers in a second."""
    before = usd_per_million(usd_per_hour, before_per_second, utilization)
    after = usd_per_million(usd_per_hour, after_per_second, utilization)
    saved = (before - after) / MILLION
    even = spent / saved if saved > 0 else None
    days = None
    if even is not None and requests_per_month:
        days = even / requests_per_month * DAYS_OF_A_MONTH
    monthly = saved * requests_per_month if requests_per_month else None
    return Economics(before, after, even, days, monthly)
