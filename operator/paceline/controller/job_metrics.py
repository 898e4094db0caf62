"""What Prometheus reads of the jobs: made at every scrape from their status, so that a restart changes nothing."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from itertools import chain

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from paceline.api import KIND
from paceline.api.trainingjob import TrainingJob
from paceline.controller.series import efficiency, lifecycle, money, steps, training
from paceline.controller.series.sample import Family
from paceline.plan.observed import Report

LABELS = ["namespace", "job", "kind"]
THEMES = (lifecycle, money, efficiency, training)


class JobMetrics(Collector):
    def __init__(
        self, jobs: Callable[[], Iterable[TrainingJob]], clock: Callable[[], float], keep_seconds: float
    ) -> None:
        """``keep_seconds``: how long the series of a job that has ended are still served."""
        self._jobs, self._clock, self._keep = jobs, clock, keep_seconds
        # By job, then metric and labels, what was served last: a counter never goes down, though a pod may turn out to have
        # ended earlier than was told.
        self._served: defaultdict[str, dict[tuple[str, ...], float]] = defaultdict(dict)
        self._steps: dict[str, steps.Histogram] = {}

    def reported(self, uid: str, before: Report | None, after: Report) -> None:
        """Two reports of a job that followed each other."""
        if before is not None:
            self._steps.setdefault(uid, steps.Histogram()).observe(before, after)

    def forget(self, uid: str) -> None:
        """The job is gone."""
        self._served.pop(uid, None)
        self._steps.pop(uid, None)

    def describe(self) -> list[Metric]:
        return []  # nothing to check at registration: there are no jobs yet

    def collect(self) -> Iterator[Metric]:
        families = {family: _family(family) for theme in THEMES for family in theme.FAMILIES}
        times = HistogramMetricFamily(steps.NAME, steps.HELP, labels=LABELS)
        now, here = self._clock(), set[str]()
        for job in self._jobs():
            uid, end = job.metadata.uid, job.status.completion_time
            if end is not None and now > end.timestamp() + self._keep:
                continue
            here.add(uid)
            mine = [job.metadata.namespace, job.metadata.name, KIND]
            for family, value, labels in chain.from_iterable(theme.samples(job, now) for theme in THEMES):
                served = self._up(uid, (family.name, *labels), value) if family.kind == "counter" else value
                families[family].add_metric([*mine, *labels], served)
            histogram = self._steps.get(uid)
            if histogram is not None and histogram.sum:
                times.add_metric(mine, histogram.cumulative(), histogram.sum)
        for uid in [*self._served, *self._steps]:
            if uid not in here:
                self.forget(uid)
        yield from (*families.values(), times)

    def _up(self, uid: str, what: tuple[str, ...], value: float) -> float:
        served = self._served[uid]
        served[what] = max(value, served.get(what, 0.0))
        return served[what]


def _family(family: Family) -> CounterMetricFamily | GaugeMetricFamily:
    made = CounterMetricFamily if family.kind == "counter" else GaugeMetricFamily
    return made(family.name, family.help, labels=[*LABELS, *family.labels])
