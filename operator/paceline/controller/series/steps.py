"""Step times: a histogram of each job, from what lies between two reports, in the operator's memory."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass, field
from itertools import accumulate

from paceline.controller.series.sample import Family
from paceline.plan.observed import Report

STEPS = Family(
    "paceline_job_step_seconds",
    "histogram",
    "Time of a step: of all steps between two reports, their average, with what is saved and evaluated in between.",
    ("le",),
)
# From a small model on one processor to a large one on many: few, since every job has its own.
BUCKETS = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0)
BOUNDS = (*map(str, BUCKETS), "+Inf")


@dataclass
class Histogram:
    # Steps by bucket, the last one for all above; and seconds.
    counts: list[int] = field(default_factory=lambda: [0] * (len(BUCKETS) + 1))
    sum: float = 0.0

    def observe(self, before: Report, after: Report) -> None:
        """Each step counts, at the average of those between the reports: the sum is time that went by, the count steps."""
        steps = steps_between(before, after)
        if steps:
            seconds = after.time - before.time
            self.counts[bisect_left(BUCKETS, seconds / steps)] += steps
            self.sum += seconds

    def cumulative(self) -> list[int]:
        """Steps up to each of BOUNDS."""
        return list(accumulate(self.counts))


def steps_between(before: Report, after: Report) -> int:
    """0 where the processes that made them are not known to be the same, or nothing was trained in between: what lies between
    would be a restart."""
    if before.step is None or after.step is None or after.time <= before.time:
        return 0
    if (before.attempt, before.restart_count) != (after.attempt, after.restart_count):
        return 0
    return max(0, after.step - before.step)
