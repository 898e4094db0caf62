"""The budget: what is spent and forecast against ``spec.cost.budget``, told early and acted on in time.

Conditions are set when something changes, not with every cent: their words would otherwise be a write each.
"""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Literal

from paceline.api import conditions as c
from paceline.api.base import at
from paceline.api.budget import Budget
from paceline.api.conditions import Reason
from paceline.api.money import BudgetStatus
from paceline.plan.draft import Draft

# A forecast must hold this long before it suspends a job: the first ones rest on a few steps.
FORECAST_SECONDS = 60
# One that was above the budget is so no longer when it is this far below: it moves with every step.
FORECAST_CALMS = Decimal("0.95")
# What ending pods may cost beyond the budget. With what it takes to notice, the sum stays under the minute that is promised;
# pods that have more time to save are told to end as much earlier.
ENDING_SECONDS = 45
# Kubernetes' own, of pods that save nothing.
DEFAULT_GRACE_SECONDS = 30

Verdict = Literal["Suspend", "Fail"]


def look(d: Draft) -> Verdict | None:
    """Sets the conditions, tells of what is new, and says what has to be done, if anything."""
    budget = d.job.spec.cost.budget
    if budget is None:
        for type_ in (c.BUDGET_AT_RISK, c.BUDGET_EXCEEDED):
            d.clear(type_, Reason.WITHIN_BUDGET, "there is no budget")
        d.set(budget=None)
        return None
    if _still_stopped(d, budget):
        return "Suspend"
    return _spent(d, budget) or _foreseen(d, budget)


def suspension(d: Draft) -> tuple[str, str] | None:
    """(reason, words) where the budget keeps the job suspended."""
    stopped = d.status.budget
    if stopped is None or stopped.stopped_at_usd is None or stopped.reason is None:
        return None
    what = "are spent" if stopped.reason == Reason.BUDGET_SPENT else "would not be enough, by the forecast"
    return stopped.reason, f"cost.budget.maxUSD: {stopped.stopped_at_usd} USD {what}; raise it to go on"


def _still_stopped(d: Draft, budget: Budget) -> bool:
    stopped = d.status.budget
    if stopped is None or stopped.stopped_at_usd is None:
        return False
    action = budget.on_exceed if stopped.reason == Reason.BUDGET_SPENT else budget.on_forecast_exceed
    if action == "Suspend" and Decimal(budget.max_usd) <= Decimal(stopped.stopped_at_usd):
        return True
    d.set(budget=None)
    return False


def _spent(d: Draft, budget: Budget) -> Verdict | None:
    bill, limit = d.bill, Decimal(budget.max_usd)
    early = bill.rate * (_lead_seconds(d) if budget.on_exceed != "Warn" else 0) / 3600
    if not bill.priced or bill.accrued + early < limit:
        d.clear(c.BUDGET_EXCEEDED, Reason.WITHIN_BUDGET, f"less than {limit} USD are spent")
        _wake_at(d, limit - early)
        return None
    what = f"{limit} USD (cost.budget.maxUSD) are spent"
    match budget.on_exceed:
        case "Warn":
            _tell(d, c.BUDGET_EXCEEDED, Reason.BUDGET_SPENT, f"{what}; the job goes on, since onExceed is Warn")
            return None
        case "Suspend":
            _tell(d, c.BUDGET_EXCEEDED, Reason.BUDGET_SPENT, f"{what}; raise it to go on", "SuspendedByBudget")
            d.set(budget=BudgetStatus(stopped_at_usd=budget.max_usd, reason=Reason.BUDGET_SPENT))
            return "Suspend"
        case "Fail":
            d.condition(c.BUDGET_EXCEEDED, True, Reason.BUDGET_SPENT, what)
            return "Fail"


def _foreseen(d: Draft, budget: Budget) -> Verdict | None:
    bill, limit = d.bill, Decimal(budget.max_usd)
    if bill.without_price:
        _tell(d, c.BUDGET_AT_RISK, Reason.NO_PRICE, f"the budget cannot be held: {bill.without_price[0]}")
        return None
    since = _forecast_above_since(d, budget, limit)
    if (d.status.budget.forecast_above_since if d.status.budget else None) != since:
        d.set(budget=None if since is None else BudgetStatus(forecast_above_since=since))
    if since is not None:
        words = f"the forecast is above {limit} USD (cost.budget.maxUSD)"
        if budget.on_forecast_exceed == "Suspend":
            acts_at = since.timestamp() + FORECAST_SECONDS
            if d.now >= acts_at:
                # The same reason may have been told as a warning before: this is news all the same.
                d.condition(c.BUDGET_AT_RISK, True, Reason.FORECAST_EXCEEDS, f"{words}; raise it to go on")
                d.announce("SuspendedByBudget", f"{words}: {d.forecast} USD; raise it to go on", warning=True)
                d.set(budget=BudgetStatus(stopped_at_usd=budget.max_usd, reason=Reason.FORECAST_EXCEEDS))
                return "Suspend"
            d.wake(acts_at)
        cheaper = f"{words}; `paceline advise` compares what other machines would cost"
        _tell(d, c.BUDGET_AT_RISK, Reason.FORECAST_EXCEEDS, cheaper, more=f" (forecast: {d.forecast} USD)")
    elif bill.priced and bill.accrued >= (warn := limit * Decimal(budget.warn_at_ratio)):
        _tell(d, c.BUDGET_AT_RISK, Reason.WARN_RATIO_REACHED, f"{warn.normalize():f} of {limit} USD are spent")
    else:
        d.clear(c.BUDGET_AT_RISK, Reason.WITHIN_BUDGET, "neither the forecast nor what is spent is near the budget")
        _wake_at(d, limit * Decimal(budget.warn_at_ratio))
    return None


def _forecast_above_since(d: Draft, budget: Budget, limit: Decimal) -> datetime | None:
    if budget.on_forecast_exceed == "Ignore" or d.forecast is None:
        return None
    before = d.status.budget.forecast_above_since if d.status.budget else None
    if before is not None:
        return before if d.forecast > limit * FORECAST_CALMS else None
    return at(d.now) if d.forecast > limit else None


def _lead_seconds(d: Draft) -> int:
    checkpoint = d.job.spec.checkpoint
    grace = checkpoint.grace_period_seconds if checkpoint else DEFAULT_GRACE_SECONDS
    return max(0, grace - ENDING_SECONDS)


def _wake_at(d: Draft, usd: Decimal) -> None:
    """When so much will be spent, at the present rate."""
    if d.bill.rate and usd > d.bill.accrued:
        d.wake(d.now + max(0.5, float((usd - d.bill.accrued) / d.bill.rate * 3600)))


def _tell(d: Draft, type_: str, reason: str, words: str, event: str = "", more: str = "") -> None:
    """The condition, with an event that may say more, where it did not say the same already."""
    before = c.find(d.status.conditions, type_)
    if before is None or (before.status, before.reason, before.message) != ("True", reason, words):
        d.condition(type_, True, reason, words)
        d.announce(event or type_, words + more, warning=True)
