"""What Prometheus reads of the jobs: made at every scrape from their status, so that a restart changes nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import chain

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from paceline.api import KIND
from paceline.api.trainingjob import TrainingJob
from paceline.cost.goodput import PRODUCTIVE

LABELS = ["namespace", "job", "kind"]


class JobMetrics(Collector):
    def __init__(
        self, jobs: Callable[[], Iterable[TrainingJob]], clock: Callable[[], float], keep_seconds: float
    ) -> None:
        """``keep_seconds``: how long the series of a job that has ended are still served."""
        self._jobs, self._clock, self._keep = jobs, clock, keep_seconds
        # By job, metric and reason, what was served last: a counter never goes down, though a pod may turn out to have ended
        # earlier than was told.
        self._served: dict[tuple[str, str], float] = {}

    def describe(self) -> list[Metric]:
        return []  # nothing to check at registration: there are no jobs yet

    def collect(self) -> Iterator[Metric]:
        cost = CounterMetricFamily("paceline_job_cost_usd", "Dollars spent.", labels=LABELS)
        rate = GaugeMetricFamily("paceline_job_cost_rate_usd_per_hour", "What the pods cost an hour.", labels=LABELS)
        forecast = GaugeMetricFamily("paceline_job_cost_forecast_usd", "Dollars at the end.", labels=LABELS)
        lost = CounterMetricFamily("paceline_job_lost_cost_usd", "Dollars lost, by reason.", labels=[*LABELS, "reason"])
        goodput = GaugeMetricFamily("paceline_job_goodput_ratio", "Productive share of the time.", labels=LABELS)
        badput = CounterMetricFamily(
            "paceline_job_badput_seconds", "Time that trained nothing, by reason.", labels=[*LABELS, "reason"]
        )
        now, here = self._clock(), set()
        for job in self._jobs():
            status, uid = job.status, job.metadata.uid
            if status.completion_time is not None and now > status.completion_time.timestamp() + self._keep:
                continue
            here.add(uid)
            labels = [job.metadata.namespace, job.metadata.name, KIND]
            if status.cost is not None and status.cost.accrued_usd is not None:
                cost.add_metric(labels, self._accrued(job, now))
                rate.add_metric(labels, float(status.cost.hourly_rate_usd or 0))
                if status.cost.forecast_usd is not None:
                    forecast.add_metric(labels, float(status.cost.forecast_usd))
                if status.cost.lost_usd is not None:
                    for reason, usd in status.cost.lost_usd.model_dump().items():
                        lost.add_metric([*labels, reason], self._up(uid, f"lost {reason}", float(usd)))
            if status.goodput is not None:
                if status.goodput.ratio is not None:
                    goodput.add_metric(labels, float(status.goodput.ratio))
                for part, seconds in status.goodput.seconds.items():
                    if part not in PRODUCTIVE:
                        badput.add_metric([*labels, part], self._up(uid, f"badput {part}", float(seconds)))
        self._served = {key: value for key, value in self._served.items() if key[0] in here}
        yield from chain((cost, rate, forecast, lost, goodput, badput))

    def _accrued(self, job: TrainingJob, now: float) -> float:
        """As the status says, and at its rate since."""
        cost = job.status.cost
        assert cost is not None
        assert cost.accrued_usd is not None
        since = max(0.0, now - cost.as_of.timestamp())
        usd = float(cost.accrued_usd) + float(cost.hourly_rate_usd or 0) * since / 3600
        return self._up(job.metadata.uid, "cost", usd)

    def _up(self, uid: str, what: str, value: float) -> float:
        self._served[uid, what] = max(value, self._served.get((uid, what), 0.0))
        return self._served[uid, what]
