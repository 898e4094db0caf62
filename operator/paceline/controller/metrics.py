"""The operator's own metrics, by client-go's names where it has them."""

from __future__ import annotations

import time
from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

# Events of jobs by which money was acted on -> what was done.
BUDGET_ACTIONS = {
    "BudgetAtRisk": "warn",
    "BudgetExceeded": "warn",
    "SuspendedByBudget": "suspend",
    "FailedByBudget": "fail",
    "StoppedByMetric": "stop",
}


class Metrics:
    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        r = self.registry
        self.reconcile_total = Counter("paceline_reconcile_total", "Reconciles by result.", ["result"], registry=r)
        self.reconcile_duration = Histogram("paceline_reconcile_duration_seconds", "Time of one reconcile.", registry=r)
        self.queue_depth = Gauge("paceline_workqueue_depth", "Keys waiting.", registry=r)
        self.queue_adds = Counter("paceline_workqueue_adds_total", "Keys added.", registry=r)
        self.queue_retries = Counter("paceline_workqueue_retries_total", "Keys added again after an error.", registry=r)
        self.queue_latency = Histogram("paceline_workqueue_latency_seconds", "Time from added to taken.", registry=r)
        self.api_requests = Counter(
            "paceline_api_requests_total",
            "Requests to the API server by verb and HTTP status.",
            ["verb", "code"],
            registry=r,
        )
        self.watch_age = Gauge(
            "paceline_watch_age_seconds", "Time since a watch last gave a sign of life.", ["resource"], registry=r
        )
        self.loop_lag = Gauge("paceline_loop_lag_seconds", "How late the event loop's last timer ran.", registry=r)
        self.leader = Gauge("paceline_leader", "1 while this process leads.", registry=r)
        self.budget_actions = Counter(
            "paceline_budget_actions_total",
            "Warnings of budgets, and jobs that budgets and stopWhen suspended, failed and stopped.",
            ["action"],
            registry=r,
        )
        for action in BUDGET_ACTIONS.values():
            self.budget_actions.labels(action)  # from the start: increase() does not see the first value
        # What is served beside: of jobs, as text.
        self.pages: list[Callable[[], bytes]] = []
        self._alive: dict[str, float] = {}

    def page(self) -> bytes:
        """All series, as Prometheus reads them."""
        return b"".join((self.own(), *(page() for page in self.pages)))

    def own(self) -> bytes:
        """The operator's, without those of jobs: few, however many jobs there are."""
        return generate_latest(self.registry)

    def api_request(self, verb: str, code: int) -> None:
        self.api_requests.labels(verb, str(code)).inc()

    def announced(self, reason: str) -> None:
        """An event of a job."""
        if reason in BUDGET_ACTIONS:
            self.budget_actions.labels(BUDGET_ACTIONS[reason]).inc()

    def alive(self, resource: str) -> None:
        """A sign of life of a watch."""
        if resource not in self._alive:
            self.watch_age.labels(resource).set_function(lambda: time.monotonic() - self._alive[resource])
        self._alive[resource] = time.monotonic()

    def oldest_watch(self) -> tuple[str, float]:
        """(resource, seconds) of the watch that has been silent for longest."""
        ages = ((name, time.monotonic() - when) for name, when in self._alive.items())
        return max(ages, key=lambda item: item[1], default=("none", 0.0))
