"""A short run of the bench (docs/performance.md), of which only that is asserted which no machine's speed changes.

Run by `make cluster-test`, with no other operator on the cluster.
"""

from __future__ import annotations

import asyncio

import pytest

from bench.__main__ import LIVES, measure
from bench.figures import FIGURES
from bench.workloads import Workload
from tests.kube import define_kinds

WORK = Workload(jobs=60, pods=8)


@pytest.fixture(scope="module")
def found() -> dict[str, float]:
    define_kinds()
    return asyncio.run(measure(WORK, singles=3))


def test_a_job_is_written_and_not_read(found: dict[str, float]) -> None:
    # The lease is read before it is written: at most one read more, or less, of all jobs together.
    assert abs(found["reads a job"]) <= 1 / min(LIVES, WORK.jobs)
    assert found["POST a job"] == 13, "service, disruption budget, store, eight workers, and two events that tell of it"
    assert found["DELETE a job"] == 1, "the store, in the end"
    # The status tells of a start once in some seconds, and starts take longer where a machine has more to do.
    assert found["PATCH a job"] <= 16


def test_a_restart_and_a_fail_over_write_nothing(found: dict[str, float]) -> None:
    assert (found["writes after a restart"], found["writes after a fail-over"]) == (0, 0)


def test_a_job_of_eight_takes_little_memory(found: dict[str, float]) -> None:
    assert found["memory a job"] <= 300, "KiB"


def test_after_restart_fail_over_and_storm_every_gang_is_whole_and_no_pod_is_doubled(found: dict[str, float]) -> None:
    assert found["pods lost or doubled"] == 0


def test_every_figure_is_described(found: dict[str, float]) -> None:
    assert set(found) == set(FIGURES)
