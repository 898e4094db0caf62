"""Series that are made at every scrape from the status of a kind's objects, so that a restart of the operator changes nothing."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from typing import Generic, NamedTuple, TypeVar

from paceline.api.compressionjob import CompressionJob
from paceline.api.trainingjob import TrainingJob
from paceline.controller.series import text
from paceline.controller.series.sample import Family, Sample

LABELS = ("namespace", "job", "kind")

Job = TypeVar("Job", bound=TrainingJob | CompressionJob)


class Theme(NamedTuple, Generic[Job]):
    """``samples``: of a job at a time (Unix, seconds); of these families."""

    families: Sequence[Family]
    samples: Callable[[Job, float], Iterable[Sample]]


class StatusMetrics(Generic[Job]):
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
        self._served: defaultdict[str, dict[text.Around, float]] = defaultdict(dict)

    def forget(self, uid: str) -> None:
        """The job is gone."""
        self._served.pop(uid, None)

    def page(self) -> bytes:
        """The present series of all jobs, as Prometheus reads them."""
        lines = {family: [text.head(family)] for theme in self._themes for family in theme.families}
        now, here = self._clock(), dict[str, str]()
        for job in self._jobs():
            uid, end = job.metadata.uid, job.status.completion_time
            if end is not None and now > end.timestamp() + self._keep:
                continue
            here[uid] = mine = text.labels(LABELS, (job.metadata.namespace, job.metadata.name, self._kind))
            for theme in self._themes:
                for family, value, values in theme.samples(job, now):
                    around = text.around(family, values)
                    served = self._up(uid, around, value) if family.kind == "counter" else value
                    lines[family].append(text.line(around, mine, served))
        for uid in self._known():
            if uid not in here:
                self.forget(uid)
        # A family at a time, so that not all lines are there twice.
        return b"".join("".join(lines.pop(family)).encode() for family in list(lines)) + self._more(here).encode()

    def _known(self) -> list[str]:
        """Jobs that something is kept of."""
        return list(self._served)

    def _more(self, here: dict[str, str]) -> str:
        """Lines that no status has, of the jobs that are ``here``: uid to its labels."""
        return ""

    def _up(self, uid: str, around: text.Around, value: float) -> float:
        served = self._served[uid]
        served[around] = max(value, served.get(around, 0.0))
        return served[around]
