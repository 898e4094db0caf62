"""What Prometheus reads of TrainingJobs: their status, and the times of their steps."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from prometheus_client.core import HistogramMetricFamily, Metric

from paceline.api import KIND
from paceline.api.trainingjob import TrainingJob
from paceline.controller.series import efficiency, lifecycle, money, steps, training
from paceline.controller.status_metrics import LABELS, StatusMetrics, Theme
from paceline.plan.observed import Report

THEMES = [Theme(theme.FAMILIES, theme.samples) for theme in (lifecycle, money, efficiency, training)]


class JobMetrics(StatusMetrics[TrainingJob]):
    def __init__(
        self, jobs: Callable[[], Iterable[TrainingJob]], clock: Callable[[], float], keep_seconds: float
    ) -> None:
        """``keep_seconds``: how long the series of a job that has ended are still served."""
        super().__init__(KIND, THEMES, jobs, clock, keep_seconds)
        self._steps: dict[str, steps.Histogram] = {}

    def reported(self, uid: str, before: Report | None, after: Report) -> None:
        """Two reports of a job that followed each other."""
        if before is not None:
            self._steps.setdefault(uid, steps.Histogram()).observe(before, after)

    def forget(self, uid: str) -> None:
        super().forget(uid)
        self._steps.pop(uid, None)

    def _known(self) -> list[str]:
        return [*super()._known(), *self._steps]

    def _more(self, here: dict[str, list[str]]) -> Iterator[Metric]:
        times = HistogramMetricFamily(steps.NAME, steps.HELP, labels=LABELS)
        for uid, mine in here.items():
            histogram = self._steps.get(uid)
            if histogram is not None and histogram.sum:
                times.add_metric(mine, histogram.cumulative(), histogram.sum)
        yield times
