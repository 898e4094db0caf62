"""What Prometheus reads of TrainingJobs: their status, and the times of their steps."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from paceline.api import KIND
from paceline.api.trainingjob import TrainingJob
from paceline.controller.series import efficiency, lifecycle, money, steps, text, training
from paceline.controller.status_metrics import StatusMetrics, Theme
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

    def _more(self, here: dict[str, str]) -> str:
        buckets = [text.around(steps.STEPS, (bound,), "_bucket") for bound in steps.BOUNDS]
        count, total = (text.around(steps.STEPS, (), suffix) for suffix in ("_count", "_sum"))
        lines = [text.head(steps.STEPS)]
        for uid, mine in here.items():
            histogram = self._steps.get(uid)
            if histogram is not None and histogram.sum:
                up_to = histogram.cumulative()
                lines += (text.line(bucket, mine, number) for bucket, number in zip(buckets, up_to, strict=True))
                lines += (text.line(count, mine, up_to[-1]), text.line(total, mine, histogram.sum))
        return "".join(lines)
