"""The use of devices as NVIDIA's DCGM exporter measures it: from what Prometheus answers to a utilization for each job.

Two series tell it. The first, of the graphics engine's activity, is a share from 0 to 1; some devices do not have it. The second,
GPU utilization, is from 0 to 100 and has a flaw: it is the share of time in which any kernel ran, 100 also while a collective
hangs. So it counts only for pods that do not have the first.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from paceline.plan.observed import Measured, PodRecord

# A sample that is older says nothing about now.
FRESH_SECONDS = 300
# How much a job's utilization must move for the job to be looked at because of it.
NOTICEABLE = 0.05

Pod = tuple[str, str]  # namespace and name


class AnswerError(Exception):
    """Prometheus did not answer with series; the message says what it said."""


@dataclass(frozen=True, slots=True)
class Series:
    """A series and how its values become a share of 0 to 1."""

    name: str
    whole: float

    @property
    def query(self) -> str:
        """A range, not an instant: only a range's samples come with the time at which they were taken."""
        return f"{self.name}[{FRESH_SECONDS}s]"


@dataclass(frozen=True, slots=True)
class Sample:
    """The newest one of a device that a pod has: a share of 0 to 1, Unix seconds."""

    share: float
    time: float
    source: str


Found = Mapping[Pod, Sequence[Sample]]


def parse(answer: Any, series: Series) -> Found:
    """The newest sample of each device, by pod. What is no share (blank values, which DCGM writes as huge numbers) is left out.
    Raises AnswerError."""
    if not isinstance(answer, dict) or answer.get("status") != "success":
        said = answer.get("error") if isinstance(answer, dict) else None
        raise AnswerError(said or "no answer of Prometheus' API")
    found: defaultdict[Pod, list[Sample]] = defaultdict(list)
    try:
        for device in answer["data"]["result"]:
            pod, (time, value) = _pod(device["metric"]), device["values"][-1]
            share = float(value) / series.whole
            if pod is not None and math.isfinite(share) and 0 <= share <= 1:
                found[pod].append(Sample(share, float(time), series.name))
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise AnswerError(f"not a matrix of Prometheus' API: {error!r}") from error
    return found


def _pod(labels: Mapping[str, str]) -> Pod | None:
    """Whose the device is. Where the exporter's labels lost against those of the scraped target, which are then of the exporter's
    own pod, they are called exported_."""
    name = labels.get("exported_pod") or labels.get("pod")
    namespace = labels.get("exported_namespace") or labels.get("namespace")
    return (namespace, name) if name and namespace else None


def with_devices(pods: Iterable[PodRecord]) -> list[PodRecord]:
    """Those of whose devices something can be known."""
    return [pod for pod in pods if pod.role == "worker" and pod.running and pod.asks.gpus]


def lacks(pods: Iterable[PodRecord], found: Found) -> bool:
    return any((pod.namespace, pod.name) not in found for pod in pods)


def join(pods: Iterable[PodRecord], active: Found, fallback: Found, now: float) -> dict[str, Measured]:
    """By job uid: the mean over all devices of the job's pods that are known, as old as the oldest sample among them."""
    samples: defaultdict[str, list[Sample]] = defaultdict(list)
    for pod in pods:
        samples[pod.job_uid] += _of(pod, active, now) or _of(pod, fallback, now)
    return {
        uid: Measured(
            utilization=sum(s.share for s in found) / len(found),
            source=" and ".join(sorted({s.source for s in found})),
            time=min(s.time for s in found),
        )
        for uid, found in samples.items()
        if found
    }


def _of(pod: PodRecord, found: Found, now: float) -> list[Sample]:
    began = pod.container.running_since or 0.0  # a pod of an earlier job may have had the same name
    return [s for s in found.get((pod.namespace, pod.name), ()) if s.time >= began and fresh(s.time, now)]


def fresh(time: float, now: float) -> bool:
    return now <= time + FRESH_SECONDS


def noticeable(before: Measured | None, after: Measured | None, idle_below: float) -> bool:
    """Must the job be looked at? ``idle_below``: the utilization under which its devices count as idle."""
    if before is None or after is None:
        return before is not after
    crossed = (before.utilization < idle_below) != (after.utilization < idle_below)
    return crossed or abs(after.utilization - before.utilization) >= NOTICEABLE
