"""Disruption budgets of gangs, by the real disruption controller."""

from __future__ import annotations

import pytest

from tests.kube import apply, get, job, kubectl, patch, pods, status, try_to_evict, wait, wait_phase
from tests.reading import RefusedError

pytestmark = pytest.mark.usefixtures("operator")
KWOK_NODES = ("-l", "type=kwok")


def budgets(namespace):
    return {b["metadata"]["name"]: b for b in get("pdb", namespace=namespace)}


def the_budget(namespace, **expected):
    """The one budget that has pods, once the disruption controller has counted this."""

    def counted():
        found = [b for b in budgets(namespace).values() if b.get("status", {}).get("expectedPods")]
        return len(found) == 1 and expected.items() <= found[0]["status"].items() and found[0]

    return wait(f"a budget with {expected}", counted)


def names(name, namespace):
    return [p["metadata"]["name"] for p in pods(name, namespace) if "deletionTimestamp" not in p["metadata"]]


@pytest.fixture
def no_room():
    """Whoever is evicted finds no other node for as long as the test says."""
    kubectl("cordon", *KWOK_NODES)
    yield lambda: kubectl("uncordon", *KWOK_NODES)
    kubectl("uncordon", *KWOK_NODES)


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ({"nodes": 3}, {"expectedPods": 3, "desiredHealthy": 2, "currentHealthy": 3, "disruptionsAllowed": 1}),
        (
            {"nodes": 3, "elastic": {"minNodes": 2}},
            {"expectedPods": 3, "desiredHealthy": 2, "currentHealthy": 3, "disruptionsAllowed": 1},
        ),
    ],
    ids=["fixed", "elastic"],
)
def test_of_two_evictions_at_once_one_is_refused(namespace, spec, expected, request):
    apply(job("gang", namespace, **spec))
    wait_phase("gang", namespace, "Running")
    the_budget(namespace, **expected)
    uncordon = request.getfixturevalue("no_room")
    first, second, third = names("gang", namespace)
    try_to_evict(first, namespace)
    for other in (second, third):
        with pytest.raises(RefusedError, match="violate the pod's disruption budget"):
            try_to_evict(other, namespace)
    wait("a replacement waits for a node", lambda: len(names("gang", namespace)) == 3)
    the_budget(namespace, currentHealthy=2, disruptionsAllowed=0)
    with pytest.raises(RefusedError, match="violate the pod's disruption budget"):
        try_to_evict(second, namespace)
    uncordon()
    the_budget(namespace, currentHealthy=3, disruptionsAllowed=1)
    try_to_evict(second, namespace)


def test_a_lone_worker_has_none_and_gets_one_with_company(namespace):
    apply(job("gang", namespace, nodes=1))
    wait_phase("gang", namespace, "Running")
    assert budgets(namespace) == {}
    patch("gang", namespace, nodes=3)
    the_budget(namespace, expectedPods=3, disruptionsAllowed=1)
    patch("gang", namespace, nodes=4)
    the_budget(namespace, expectedPods=4, desiredHealthy=3, disruptionsAllowed=1)


def test_another_floor_after_a_suspension_is_the_one_that_counts(namespace):
    apply(job("gang", namespace, nodes=3, elastic={"minNodes": 3}))
    wait_phase("gang", namespace, "Running")
    the_budget(namespace, desiredHealthy=3, disruptionsAllowed=0)
    patch("gang", namespace, suspend=True)
    wait_phase("gang", namespace, "Suspended")
    patch("gang", namespace, suspend=False, elastic={"minNodes": 1})
    wait_phase("gang", namespace, "Running")
    uid = get("tj", "gang", namespace)["metadata"]["uid"][:8]
    counts = {"expectedPods": 3, "disruptionsAllowed": 2}
    wait("the new one counts", lambda: counts.items() <= budgets(namespace)[f"gang-{uid}-min-1"]["status"].items())
    wait("the old one counts nobody", lambda: budgets(namespace)[f"gang-{uid}-min-3"]["status"]["expectedPods"] == 0)
    try_to_evict(names("gang", namespace)[0], namespace)


def test_a_budget_that_is_refused_is_told_and_made_later(namespace):
    kubectl("create", "quota", "none", "--hard=count/poddisruptionbudgets.policy=0", "-n", namespace)
    wait("the quota counts", lambda: get("quota", "none", namespace).get("status", {}).get("used"))
    apply(job("gang", namespace))
    wait("it is told", lambda: "poddisruptionbudget gang-" in status("gang", namespace).get("message", ""))
    assert "exceeded quota: none" in status("gang", namespace)["message"]
    assert pods("gang", namespace, "rendezvous") == [], "the gang does not meet before all around it is made"
    kubectl("delete", "quota", "none", "-n", namespace)
    wait_phase("gang", namespace, "Running", seconds=90)
    the_budget(namespace, expectedPods=2, disruptionsAllowed=1)


def test_it_goes_with_its_job(namespace):
    apply(job("gang", namespace))
    wait_phase("gang", namespace, "Running")
    assert budgets(namespace)
    kubectl("delete", "tj", "gang", "-n", namespace)
    wait("the budget is gone", lambda: not budgets(namespace))
