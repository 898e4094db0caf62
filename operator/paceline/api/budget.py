"""``spec.cost``: which prices count, what may be spent, and when enough has been learned for it."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from paceline.api.base import ApiModel
from paceline.api.rules import cel, rules


def _written(pattern: str, words: str) -> Any:
    """Decimal strings, so that nothing drifts between what a user writes, the API server keeps and the operator adds up."""
    return rules(cel(f"self.matches('{pattern}')", words))


def money(field: str) -> Any:
    return _written("^[0-9]{1,12}([.][0-9]{1,9})?$", f'{field} must be dollars, as a decimal string: "250" or "12.50"')


def ratio(field: str) -> Any:
    return _written("^(0([.][0-9]{1,9})?|1([.]0{1,9})?)$", f'{field} must be from 0 to 1, as a decimal string: "0.8"')


def number(field: str) -> Any:
    return _written("^-?[0-9]{1,15}([.][0-9]{1,9})?$", f'{field} must be a number, as a decimal string: "0.92"')


class Budget(ApiModel):
    """What the job may cost, all attempts and its pods of every kind together."""

    max_usd: str = Field(
        alias="maxUSD",
        max_length=22,
        description='Dollars, e.g. "250". Raising it resumes a job.',
        json_schema_extra=money("cost.budget.maxUSD"),
    )
    warn_at_ratio: str = Field(
        default="0.8",
        max_length=12,
        description="Share of maxUSD from which on BudgetAtRisk is true, as a decimal string.",
        json_schema_extra=ratio("cost.budget.warnAtRatio"),
    )
    on_exceed: Literal["Warn", "Suspend", "Fail"] = Field(
        default="Warn",
        description="When maxUSD is spent: Warn sets BudgetExceeded; Suspend saves, ends all pods and waits for a larger budget; "
        "Fail saves and ends the job.",
    )
    on_forecast_exceed: Literal["Ignore", "Warn", "Suspend"] = Field(
        default="Warn",
        description="When the forecast has been above maxUSD for a minute: Warn sets BudgetAtRisk; Suspend also saves, ends all "
        "pods and waits for a larger budget; Ignore does nothing.",
    )


class StopWhen(ApiModel):
    """Ends the job as Succeeded, after a save, when training on is not worth its money. Either is enough."""

    metric: str = Field(
        min_length=1, max_length=128, description="Metric that the program reports, e.g. eval_accuracy."
    )
    goal: Literal["Maximize", "Minimize"] = Field(default="Maximize", description="Which values of it are better.")
    reaches: str | None = Field(
        default=None,
        max_length=26,
        description='Enough of it, as a decimal string, e.g. "0.92".',
        json_schema_extra=number("cost.stopWhen.reaches"),
    )
    usd_per_point_above: str | None = Field(
        default=None,
        alias="usdPerPointAbove",
        max_length=22,
        json_schema_extra=money("cost.stopWhen.usdPerPointAbove"),
        description="Most that a further point (a hundredth of the metric) may cost: it ends the job when more dollars than this "
        "have been spent for each point gained since the last whole one, or without gaining one.",
    )


class Idle(ApiModel):
    """When devices that do nothing are told of."""

    utilization_below: str = Field(
        default="0.05",
        max_length=12,
        description="Utilization that counts as idle, as a decimal string.",
        json_schema_extra=ratio("cost.idle.utilizationBelow"),
    )
    after_seconds: int = Field(
        default=600, ge=60, le=604800, description="How long it must last, with no progress reported in that time."
    )
    on_idle: Literal["Warn", "Suspend"] = Field(
        default="Warn",
        description="Warn sets the condition Idle, with the dollars that it burns an hour; Suspend also saves and ends all pods "
        "until the spec changes.",
    )


STOP_RULES = rules(
    cel(
        "has(self.reaches) || has(self.usdPerPointAbove)",
        'cost.stopWhen needs reaches (a value of the metric, e.g. "0.92") or usdPerPointAbove (dollars, e.g. "15")',
    )
)


class Cost(ApiModel):
    """What the job's machines cost, and what it may cost."""

    price_book: str = Field(
        default="default",
        min_length=1,
        max_length=63,
        description="Price book to look nodes up in; the chart's priceBooks has them.",
    )
    capacity_type: Literal["onDemand", "spot", "owned"] | None = Field(
        default=None,
        description="How nodes are had that have no label that says so. Default: on demand, or the only price that the book has.",
    )
    team: str | None = Field(
        default=None, max_length=63, description="Who pays: `paceline cost` and the metric paceline_job_info tell it."
    )
    budget: Budget | None = Field(default=None, description="What the job may cost. Absent: no limit.")
    stop_when: StopWhen | None = Field(
        default=None, description="When training on is not worth its money.", json_schema_extra=STOP_RULES
    )
    idle: Idle = Field(default=Idle(), description="When devices that do nothing are told of.")
