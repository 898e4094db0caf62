"""What the job costs, may cost, lost and saved."""

from __future__ import annotations

from collections.abc import Iterator

from paceline.api.money import CostStatus
from paceline.api.trainingjob import TrainingJob
from paceline.controller.series.sample import Family, Sample, counter, gauge, number, since_written
from paceline.plan.books import spread

COST = counter(
    "paceline_job_cost_usd_total", "Dollars spent: by pods that have devices, and by the others.", "resource"
)
IDLE = counter("paceline_job_idle_cost_usd_total", "Dollars for devices' time that was not used, while that was known.")
LOST = counter("paceline_job_lost_cost_usd_total", "Dollars that trained nothing that was kept.", "reason")
RATE = gauge("paceline_job_cost_rate_usd_per_hour", "What the pods that are there cost an hour.")
FORECAST = gauge("paceline_job_cost_forecast_usd", "Dollars at the end, at the present rate and pace.")
SAVINGS = counter(
    "paceline_job_spot_savings_usd_total", "Dollars saved by spot nodes, less what failures lost; its highest value."
)
BUDGET = gauge("paceline_job_budget_usd", "Dollars that the job may cost.")
BUDGET_USED = gauge("paceline_job_budget_used_ratio", "Dollars spent over the budget.")

FAMILIES = (COST, IDLE, LOST, RATE, FORECAST, SAVINGS, BUDGET, BUDGET_USED)


def samples(job: TrainingJob, now: float) -> Iterator[Sample]:
    cost, budget = job.status.cost, job.spec.cost.budget
    if budget is not None:
        yield Sample(BUDGET, float(budget.max_usd))
    if cost is None or cost.accrued_usd is None:
        return
    yield from _spent(job, cost, now)
    if cost.lost_usd is not None:
        for reason, usd in cost.lost_usd.model_dump().items():
            yield Sample(LOST, float(usd), (reason,))
    for family, figure in (
        (IDLE, cost.idle_usd),
        (RATE, cost.hourly_rate_usd),
        (FORECAST, cost.forecast_usd),
        (SAVINGS, cost.spot_savings_usd),
        (BUDGET_USED, cost.budget_used_ratio),
    ):
        yield from _known(family, figure)


def _spent(job: TrainingJob, cost: CostStatus, now: float) -> Iterator[Sample]:
    """As the status says, and at the rate of the pods that are there since."""
    whole, gpu = number(cost.accrued_usd), number(cost.gpu_usd)
    if whole is None or gpu is None:
        return
    hours, rate, gpu_rate = since_written(job, now) / 3600, number(cost.hourly_rate_usd) or 0.0, _gpu_rate(cost)
    yield Sample(COST, gpu + gpu_rate * hours, ("gpu",))
    yield Sample(COST, whole - gpu + max(0.0, rate - gpu_rate) * hours, ("cpu",))


def _gpu_rate(cost: CostStatus) -> float:
    """USD an hour of the pods with devices that have not ended."""
    there = (stay for stay in cost.ledger.stays if stay.end is None and stay.gpus)
    return sum((number(stay.usd_per_hour) or 0.0) * len(spread(stay.pods)) for stay in there)


def _known(family: Family, figure: str | None) -> Iterator[Sample]:
    value = number(figure)
    if value is not None:
        yield Sample(family, value)
