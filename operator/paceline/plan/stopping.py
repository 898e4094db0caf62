"""``spec.cost.stopWhen``: ends a job whose metric is good enough, or whose next point is not worth its money."""

from __future__ import annotations

from decimal import Decimal

from paceline.api.budget import StopWhen
from paceline.api.conditions import Reason
from paceline.api.money import StopStatus
from paceline.plan.draft import Draft
from paceline.plan.figures import sensible

# A point is a hundredth of the metric: a percent of an accuracy.
POINTS = 100
CENT = Decimal("0.01")


def look(d: Draft) -> tuple[str, str] | None:
    """(reason, message) where the job has learned enough. An evaluation is one that differs from the one before."""
    stop, known = d.job.spec.cost.stop_when, d.status.stop_when
    if stop is None:
        d.set(stop_when=None)
        return None
    reported = _reported(d)
    value = sensible(reported.get(stop.metric))
    if value is None:
        if reported and (known is None or known.best is None):
            names = ", ".join(sorted(reported))[:200]
            d.set(stop_when=StopStatus(message=f"no metric {stop.metric!r} was reported yet; there are: {names}"))
        return None
    if known is not None and known.last == f"{value:f}":
        return None
    status, price = _after(stop, known, value, d.bill.accrued if d.bill.priced else None)
    d.set(stop_when=status)
    return _verdict(stop, value, price)


def _reported(d: Draft) -> dict[str, str]:
    metrics = d.seen.report.metrics if d.seen.report else (d.status.progress and d.status.progress.metrics) or ()
    return {m.name: m.value for m in metrics}


def _after(
    stop: StopWhen, known: StopStatus | None, value: Decimal, spent: Decimal | None
) -> tuple[StopStatus, Decimal | None]:
    """The status after an evaluation, and dollars for each point since the last whole one. The first only begins the count."""
    better = 1 if stop.goal == "Maximize" else -1
    best = sensible(known.best) if known else None
    mark = sensible(known.mark) if known else None
    since = sensible(known.mark_usd) if known else None
    if best is None or mark is None:
        return StopStatus(last=f"{value:f}", best=f"{value:f}", mark=f"{value:f}", mark_usd=_text(spent)), None
    best = max(best, value, key=lambda v: v * better)
    gained = (best - mark) * better * POINTS
    price = None if spent is None or since is None else (spent - since) / max(gained, Decimal(1))
    whole = gained >= 1
    status = StopStatus(
        last=f"{value:f}",
        best=f"{best:f}",
        mark=f"{best if whole else mark:f}",
        mark_usd=_text(spent if whole else since),
        usd_per_point=None if price is None else f"{price.quantize(CENT):f}",
    )
    return status, price


def _verdict(stop: StopWhen, value: Decimal, price: Decimal | None) -> tuple[str, str] | None:
    if stop.reaches is not None:
        aim = Decimal(stop.reaches)
        if value >= aim if stop.goal == "Maximize" else value <= aim:
            return Reason.METRIC_REACHED, f"{stop.metric} is {value:f}: {stop.reaches} is reached (cost.stopWhen)"
    if stop.usd_per_point_above is not None and price is not None and price > Decimal(stop.usd_per_point_above):
        words = f"a further point of {stop.metric} costs {price.quantize(CENT):f} USD"
        return Reason.POINT_TOO_DEAR, f"{words}, more than {stop.usd_per_point_above} (cost.stopWhen.usdPerPointAbove)"
    return None


def _text(usd: Decimal | None) -> str | None:
    return None if usd is None else f"{usd:f}"
