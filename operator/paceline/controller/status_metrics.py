"""Series that are made at every scrape from the status of a kind's objects, so that a restart of the operator changes nothing."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Generic, NamedTuple, TypeVar

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from paceline.api.compressionjob import CompressionJob
from paceline.api.trainingjob import TrainingJob
from paceline.controller.series.sample import Family, Sample

LABELS = ["namespace", "job", "kind"]

Job = TypeVar("Job", bound=TrainingJob | CompressionJob)


class Theme(NamedTuple, Generic[Job]):
    """``samples``: of a job at a time (Unix, seconds); of these families."""

    families: Sequence[Family]
    samples: Callable[[Job, float], Iterable[Sample]]


class StatusMetrics(Collector, Generic[Job]):
    def __init__(
        self,
        kind: str,
        themes: Sequence[Theme[Job]],
        jobs: Callable[[], Iterable[Job]],
        clock: Callable[[], float],
        keep_seconds: float,
    ) -> None:
        """``keep_seconds``: how long the series of a job that has ended are still served."""
        self._kind, self._themes, self._jobs, self._clock, self._keep = kind, themes, jobs, clock, keep_seconds
        # By job, then metric and labels, what was served last: a counter never goes down, though a pod may turn out to have
        # ended earlier than was told.
        self._served: defaultdict[str, dict[tuple[str, ...], float]] = defaultdict(dict)

    def forget(self, uid: str) -> None:
        """The job is gone."""
        self._served.pop(uid, None)

    def describe(self) -> list[Metric]:
        return []  # nothing to check at registration: there are no jobs yet

    def collect(self) -> Iterator[Metric]:
        families = {family: _family(family) for theme in self._themes for family in theme.families}
        now, here = self._clock(), dict[str, list[str]]()
        for job in self._jobs():
            uid, end = job.metadata.uid, job.status.completion_time
            if end is not None and now > end.timestamp() + self._keep:
                continue
            here[uid] = mine = [job.metadata.namespace, job.metadata.name, self._kind]
            for theme in self._themes:
                for family, value, labels in theme.samples(job, now):
                    served = self._up(uid, (family.name, *labels), value) if family.kind == "counter" else value
                    families[family].add_metric([*mine, *labels], served)
        for uid in self._known():
            if uid not in here:
                self.forget(uid)
        yield from families.values()
        yield from self._more(here)

    def _known(self) -> list[str]:
        """Jobs that something is kept of."""
        return list(self._served)

    def _more(self, here: dict[str, list[str]]) -> Iterator[Metric]:
        """Families that no status has, of the jobs that are ``here``: uid to the values of LABELS."""
        yield from ()

    def _up(self, uid: str, what: tuple[str, ...], value: float) -> float:
        served = self._served[uid]
        served[what] = max(value, served.get(what, 0.0))
        return served[what]


def _family(family: Family) -> CounterMetricFamily | GaugeMetricFamily:
    made = CounterMetricFamily if family.kind == "counter" else GaugeMetricFamily
    return made(family.name, family.help, labels=[*LABELS, *family.labels])
