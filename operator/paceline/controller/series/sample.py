"""What a theme gives: samples of families."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Literal, NamedTuple

from paceline.api.trainingjob import TrainingJob

# How far behind the present a counter that goes on by itself is. A pod's end is told in whole seconds, and some moments after it:
# what was served up to there stands when the status is corrected, also for a new process that does not know what was served.
SETTLED_SECONDS = 5


# Told apart by identity: a sample is found its family some hundred thousand times a scrape.
@dataclass(frozen=True, slots=True, eq=False)
class Family:
    """A metric. ``name`` as it is served; a counter's ends in _total."""

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    help: str
    # Its own label, beside namespace, job and kind.
    labels: tuple[str, ...] = ()


class Sample(NamedTuple):
    family: Family
    value: float
    labels: tuple[str, ...] = ()


def counter(name: str, text: str, *labels: str) -> Family:
    return Family(name, "counter", text, labels)


def gauge(name: str, text: str, *labels: str) -> Family:
    return Family(name, "gauge", text, labels)


def since_written(job: TrainingJob, now: float) -> float:
    """Seconds by which what goes on at a known rate is ahead of the status; 0 for a job that has ended."""
    cost = job.status.cost
    if cost is None or job.status.completion_time is not None:
        return 0.0
    return max(0.0, now - SETTLED_SECONDS - cost.as_of.timestamp())


def number(text: str | None) -> float | None:
    """Of a decimal string of the status."""
    try:
        return None if text is None else float(Decimal(text))
    except InvalidOperation:  # the program's own word
        return None
