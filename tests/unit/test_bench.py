"""The bench's workloads and bounds."""

from __future__ import annotations

import pytest

from bench.figures import FIGURES, Spread, outside, ranges, read_ranges, spreads
from bench.workloads import PODS_A_NAMESPACE, WORKLOADS


def test_a_namespace_never_has_more_pods_than_is_good_for_it():
    for work in WORKLOADS.values():
        by_namespace: dict[str, int] = {}
        for job in work.objects("x"):
            namespace = job["metadata"]["namespace"]
            by_namespace[namespace] = by_namespace.get(namespace, 0) + work.pods + 1
        assert len(by_namespace) == work.namespaces
        assert max(by_namespace.values()) <= PODS_A_NAMESPACE + work.pods + 1


def test_bounds_are_a_fifth_beyond_the_mean_to_the_worse_side():
    found = spreads([{"all pods": 1.0, "pods a second": 90.0}, {"all pods": 3.0, "pods a second": 110.0}])
    assert found["all pods"] == Spread(2.0, pytest.approx(2**0.5), 1.0, 3.0)
    bounds = ranges(found)
    assert bounds == {"all pods": {"most": 2.4}, "pods a second": {"least": 80.0}}
    assert outside(found, bounds) == []
    worse = spreads([{"all pods": 2.5, "pods a second": 79.0}])
    assert outside(worse, bounds) == ["all pods: 2.5 s is more than 2.4", "pods a second: 79 /s is less than 80"]
    assert outside(spreads([{"all pods": 1.0}]), bounds) == ["pods a second: was not measured"]


def test_what_is_zero_stays_zero():
    bounds = ranges(spreads([{"reads a job": 0.0}]))
    assert outside(spreads([{"reads a job": 0.02}]), bounds) == ["reads a job: 0.02 is more than 0"]


def test_the_bounds_that_are_kept_are_of_figures_and_workloads_that_there_are():
    for name in WORKLOADS:
        assert set(read_ranges(name)) <= set(FIGURES)
