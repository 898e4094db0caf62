"""What all jobs cost, who spends it, and what of it is lost. Money first."""

from __future__ import annotations

from grafana_foundation_sdk.models.dashboard import Dashboard

from tools.dashboards.panels import RATIO, USD, bars, board, choice, curves, figure, listing

HERE = 'namespace=~"$namespace"'
JOB = "namespace, job, kind"
TEAM = f"topk by ({JOB}) (1, last_over_time(job:paceline_team:info{{{HERE}}}[$__range]))"


def spent(metric: str) -> str:
    """What a job's counter of dollars rose by in the range that is shown. A job that is older counts from the range's first
    sample, a younger one from nothing: increase() would lose what it cost before it was first scraped."""
    rose, first = f"max_over_time({metric}{{{HERE}}}[$__range])", f"min_over_time({metric}{{{HERE}}}[$__range])"
    created = f"last_over_time(job:paceline_created_timestamp_seconds:max{{{HERE}}}[$__range])"
    return f"({rose} - ({first} and on ({JOB}) {created} < time() - $__range_s or {rose} * 0))"


def of_job(metric: str) -> str:
    return f"max by ({JOB}) ({metric}{{{HERE}}})"


SPENT = spent("job:paceline_cost_usd:max")
LOST, IDLE = spent("job:paceline_lost_cost_usd:max"), spent("job:paceline_idle_cost_usd:max")
RATE = f"job:paceline_cost_rate_usd_per_hour:max{{{HERE}}}"
FORECAST, BUDGET = of_job("paceline_job_cost_forecast_usd"), of_job("paceline_job_budget_usd")
USED = of_job("paceline_job_budget_used_ratio")
AT_RISK = f"({USED} > 0.8 or {USED} and on ({JOB}) {FORECAST} > on ({JOB}) {BUDGET})"
TO_JOB = (
    "job",
    "The job's dashboard",
    "/d/paceline-job?var-datasource=${datasource}&var-namespace=${__data.fields.namespace}&var-job=${__value.raw}",
)


def fleet() -> Dashboard:
    money = [
        figure("Spent", "Dollars in the range that is shown; today, unless you choose another.", f"sum({SPENT})", USD),
        figure("Burn rate, an hour", "What all pods that are there cost an hour, now.", f"sum({RATE})", USD),
        figure(
            "Forecast",
            "What the running jobs that report their progress will have cost at their ends, at their present rates.",
            f"sum({FORECAST} and on ({JOB}) {RATE} > 0)",
            USD,
        ),
        figure(
            "Lost",
            "Dollars in the range for starting, recovering, and steps that failures took back.",
            f"sum({LOST})",
            USD,
            steps=((None, "orange"),),
        ),
        figure(
            "Idle",
            "Dollars in the range for devices that did nothing, where their utilization is known.",
            f"sum({IDLE})",
            USD,
            steps=((None, "orange"),),
        ),
        figure(
            "Saved by spot",
            "By the jobs of this range since their starts: spot against on demand, less what failures lost. None: no spot.",
            f"sum(max by ({JOB}) (last_over_time(paceline_job_spot_savings_usd_total{{{HERE}}}[$__range])))",
            USD,
            steps=((None, "green"),),
        ),
    ]
    time = [
        curves(
            "Burn rate by team",
            "Dollars an hour, by namespace and spec.cost.team.",
            [(f"team:paceline_cost_rate_usd_per_hour:sum{{{HERE}}}", "{{namespace}} {{team}}")],
            USD,
            stacked=True,
        ),
        curves(
            "Spent a day",
            "The last 30 days (UTC), by namespace and team; the last bar is the last 24 hours.",
            [(f"team:paceline_spend_usd:1d{{{HERE}}}", "{{namespace}} {{team}}")],
            USD,
            stacked=True,
            days=30,
        ),
    ]
    who = [
        bars(
            "Teams",
            "Dollars in the range, by namespace and spec.cost.team.",
            [
                (
                    f"sort_desc(sum by (namespace, team) ({SPENT} * on ({JOB}) group_left (team) {TEAM}))",
                    "{{namespace}} {{team}}",
                )
            ],
            USD,
            width=8,
        ),
        bars(
            "Namespaces",
            "Dollars in the range.",
            [(f"sort_desc(sum by (namespace) ({SPENT}))", "{{namespace}}")],
            USD,
            width=8,
        ),
        bars(
            "Lost and idle, by reason",
            "Dollars in the range that trained nothing that was kept. Idle ones may also be among the others.",
            [(f"sort_desc(sum by (reason) ({LOST}))", "{{reason}}"), (f"sum({IDLE})", "idle")],
            USD,
            width=8,
            steps=((None, "orange"),),
        ),
        listing(
            "Jobs",
            "Dollars in the range, an hour now, and at the end. Empty: unknown, or the job has no budget or is over.",
            {
                "spent": (f"max by (namespace, job) ({SPENT})", USD),
                "an hour": (f"max by (namespace, job) ({RATE})", USD),
                "forecast": (f"max by (namespace, job) ({FORECAST})", USD),
                "budget": (f"max by (namespace, job) ({BUDGET})", USD),
                "lost": (f"sum by (namespace, job) ({LOST})", USD),
                "idle": (f"max by (namespace, job) ({IDLE})", USD),
                "goodput": (f"max by (namespace, job) (paceline_job_goodput_ratio{{{HERE}}})", RATIO),
            },
            ["namespace", "job"],
            height=9,
            link=TO_JOB,
        ),
    ]
    budgets = [
        listing(
            "Budgets at risk",
            "Jobs that have spent more than 80 % of their budget, or whose forecast is above it.",
            {
                "used": (f"max by (namespace, job) ({AT_RISK})", RATIO),
                "budget": (f"max by (namespace, job) ({BUDGET} and on ({JOB}) {AT_RISK})", USD),
                "forecast": (f"max by (namespace, job) ({FORECAST} and on ({JOB}) {AT_RISK})", USD),
                "an hour": (f"max by (namespace, job) ({RATE} and on ({JOB}) {AT_RISK})", USD),
            },
            ["namespace", "job"],
            width=16,
            height=7,
            link=TO_JOB,
        ),
        bars(
            "What budgets did",
            "Actions in the range: warned, suspended, failed; stop: stopWhen ended the job.",
            [("sort_desc(sum by (action) (increase(paceline_budget_actions_total[$__range])))", "{{action}}")],
            "none",
            width=8,
            height=7,
        ),
    ]
    namespace = choice("namespace", "Namespace", "label_values(paceline_job_info, namespace)", several=True)
    return board(
        "paceline-fleet",
        "Fleet cost",
        "What all jobs cost, who spends it, and what of it is lost.",
        [namespace],
        {"Money": money, "Over time": time, "Who spends": who, "Budgets": budgets},
        since="now/d",
    )
