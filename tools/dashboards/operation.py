"""The operator itself: whether it leads, hears, and keeps up."""

from __future__ import annotations

from grafana_foundation_sdk.models.dashboard import Dashboard

from tools.dashboards.panels import COUNT, EACH_SECOND, SECONDS, bars, board, curves, figure


def rate(metric: str, by: str) -> str:
    return f"sum by ({by}) (rate({metric}[$__rate_interval]))"


def quantiles(metric: str) -> list[tuple[str, str]]:
    buckets = rate(f"{metric}_bucket", "le")
    return [(f"histogram_quantile({q}, {buckets})", f"{q:.0%}".replace("%", " %")) for q in (0.5, 0.95, 0.99)]


def operation() -> Dashboard:
    now = [
        figure("Leader", "The pod that leads.", "paceline_leader == 1", "none", width=6, legend="{{pod}}"),
        figure(
            "Processes",
            "That are scraped; one leads, the others stand by.",
            "count(paceline_leader)",
            "none",
            steps=((None, "orange"), (2, "green")),
        ),
        figure(
            "Failed reconciles",
            "In the range; they are retried.",
            'sum(increase(paceline_reconcile_total{result="error"}[$__range])) or vector(0)',
            "none",
            decimals=0,
            steps=((None, "green"), (1, "orange")),
        ),
        figure(
            "Oldest watch",
            "Seconds since the API server last spoke on it; it speaks every minute.",
            "max(paceline_watch_age_seconds)",
            SECONDS,
            width=5,
            steps=((None, "green"), (120, "orange"), (240, "red")),
        ),
        figure(
            "Jobs waiting for a look",
            "Keys in the work queue.",
            "sum(paceline_workqueue_depth)",
            "none",
            width=5,
            steps=((None, "green"), (100, "orange")),
        ),
    ]
    loop = [
        curves(
            "Reconciles",
            "A second, by result.",
            [(rate("paceline_reconcile_total", "result"), "{{result}}")],
            EACH_SECOND,
        ),
        curves(
            "Time of a reconcile",
            "Seconds, from taken out of the queue to written.",
            quantiles("paceline_reconcile_duration_seconds"),
            SECONDS,
        ),
        curves(
            "Work queue",
            "Keys a second that were added, and again after an error; and keys that wait.",
            [
                ("sum(rate(paceline_workqueue_adds_total[$__rate_interval]))", "added"),
                ("sum(rate(paceline_workqueue_retries_total[$__rate_interval]))", "again"),
                ("sum(paceline_workqueue_depth)", "waiting"),
            ],
            COUNT,
        ),
        curves(
            "Wait in the queue",
            "Seconds, from added to taken.",
            quantiles("paceline_workqueue_latency_seconds"),
            SECONDS,
        ),
    ]
    server = [
        curves(
            "Requests to the API server",
            "A second, by verb. A job in training needs none but its status.",
            [(rate("paceline_api_requests_total", "verb"), "{{verb}}")],
            EACH_SECOND,
            width=8,
        ),
        bars(
            "Answers of the API server",
            "Requests in the range, by verb and HTTP status.",
            [("sort_desc(sum by (verb, code) (increase(paceline_api_requests_total[$__range])))", "{{verb}} {{code}}")],
            COUNT,
            width=8,
        ),
        curves(
            "Age of the watches",
            "Seconds since the API server last spoke on each.",
            [("max by (resource) (paceline_watch_age_seconds)", "{{resource}}")],
            SECONDS,
            width=8,
        ),
        curves(
            "Lag of the loop",
            "Seconds that the event loop's timers come late: more than 0.1 s is a process that is too busy.",
            [("max by (pod) (paceline_loop_lag_seconds)", "{{pod}}")],
            SECONDS,
        ),
        curves("Leaders", "One, but for seconds at a failover.", [("paceline_leader", "{{pod}}")], "none", most=1),
    ]
    return board(
        "paceline-operator",
        "Operator",
        "Whether the operator leads, hears the API server, and keeps up.",
        [],
        {"Now": now, "Loop": loop, "API server and process": server},
        since="now-6h",
    )
