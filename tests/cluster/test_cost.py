"""Dollars on a real API server: the ledger against the timestamps of the pods themselves, across failures and restarts."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from tests.kube import Json, apply, condition, get, job, kubectl, patch, pods, status, wait, wait_phase
from tests.witness import Witness, seconds, unix

NODES = ("kwok-0", "kwok-1", "kwok-2", "kwok-3")
PRICE, ANNOTATION = Decimal("3600"), "paceline.dev/price-per-hour"


@pytest.fixture
def prices() -> Iterator[None]:
    """A dollar a second for each node."""
    kubectl("annotate", "node", *NODES, f"{ANNOTATION}={PRICE}", "--overwrite")
    yield
    kubectl("annotate", "node", *NODES, f"{ANNOTATION}-")


@pytest.fixture
def witness(namespace: str, tmp_path: Path) -> Iterator[Witness]:
    watching = Witness(namespace, tmp_path / "pods.json")
    yield watching
    watching.stop()


def half(name: str, namespace: str, **spec: Any) -> Json:
    """Workers that take half of a fake node's 64 cores each: half a dollar a second."""
    return job(name, namespace, resources={"requests": {"cpu": 32}}, **spec)


def end(name: str, namespace: str, how: str) -> str:
    """Ends the job's worker that is not ended yet, the way kwok knows; the pod's name."""
    live = [p for p in pods(name, namespace) if p["status"].get("phase") == "Running"]
    pod: str = live[0]["metadata"]["name"]
    kubectl("annotate", "pod", pod, "-n", namespace, f"kwok.paceline.dev/{how}=0s")
    return pod


def test_with_two_failures_and_a_restart_the_ledger_is_the_pods_own_timestamps(operator, prices, namespace, witness):
    apply(half("paid", namespace, nodes=1, restarts={"max": 5, "backoffSeconds": 1}))
    for attempt in (1, 2):
        wait(f"attempt {attempt} runs", lambda a=attempt: runs("paid", namespace, a), 90)
        if attempt == 2:
            operator.signal(signal.SIGKILL)  # dollars do not wait for the operator
        end("paid", namespace, "fail-after")
    time.sleep(3)
    operator.start()
    wait("the third attempt runs", lambda: runs("paid", namespace, 3), 90)
    assert "paceline_job_cost_usd_total{" in operator.metrics()
    end("paid", namespace, "complete-after")
    wait_phase("paid", namespace, "Succeeded")
    wait("the store is gone", lambda: not pods("paid", namespace, "rendezvous"))
    found = wait("nothing costs any more", lambda: settled("paid", namespace), 30)
    seen = witness.stop()
    spans = [seconds(pod) for pod in seen if "rdzv" not in pod["metadata"]["name"]]
    assert len(spans) == 3
    # What is left is the store's, which has no end of its own: it is deleted after the job's end, and gone some moments later.
    store = Decimal(found["cost"]["accruedUSD"]) - sum(spans) * PRICE / 3600 / 2
    (kept,) = (pod for pod in seen if "rdzv" in pod["metadata"]["name"])
    bound = unix(condition(kept["status"], "PodScheduled")["lastTransitionTime"])
    until_end = unix(found["completionTime"]) - bound
    until_gone = max(until_end, unix(kept["metadata"]["deletionTimestamp"]) - bound)
    a_second = PRICE / 3600 * share_of_the_store(kept["spec"]["nodeName"])
    assert 3 * a_second < Decimal("0.01")
    assert a_second * (until_end - 1) <= store <= a_second * (until_gone + 3) + Decimal("0.0001")
    whole = unix(found["completionTime"]) - unix(get("tj", "paid", namespace)["metadata"]["creationTimestamp"])
    parts = found["goodput"]
    assert sum(map(Decimal, parts["seconds"].values())) == whole
    assert sum(map(Decimal, parts["usd"].values())) == Decimal(found["cost"]["accruedUSD"])
    assert Decimal(parts["seconds"]["recovering"]) > 0


def share_of_the_store(node: str) -> Decimal:
    """It asks for 50m and 256Mi."""
    has = get("node", node)["status"]["allocatable"]
    memory = Decimal(has["memory"][:-2]) * {"Gi": 2**30, "Ki": 2**10, "Mi": 2**20}[has["memory"][-2:]]
    return max(Decimal("0.05") / Decimal(has["cpu"]), 256 * 2**20 / memory)


def runs(name: str, namespace: str, attempt: int) -> bool:
    found = status(name, namespace)
    return found.get("phase") == "Running" and found["attempt"] == attempt


def settled(name: str, namespace: str) -> Json | None:
    found = status(name, namespace)
    return found if found["cost"]["hourlyRateUSD"] == "0.0000" else None


def test_what_kubectl_shows_of_it(operator, prices, namespace):
    apply(half("shown", namespace))
    wait_phase("shown", namespace, "Running")
    head, row = kubectl("get", "tj", "shown", "-n", namespace, "-o", "wide").strip().splitlines()
    assert "COST" in head
    assert "FORECAST" in head
    assert "GOODPUT" in head
    found = status("shown", namespace)
    assert found["cost"]["accruedUSD"] in row.split()
    assert Decimal(found["cost"]["hourlyRateUSD"]) > PRICE
    assert found["cost"]["priceSource"] == f"annotation {ANNOTATION}"
    assert not condition(found, "PriceUnknown")


def test_an_unknown_price_is_a_condition_that_names_the_cure(operator, namespace):
    apply(half("unpriced", namespace))
    found = wait_phase("unpriced", namespace, "Running")
    unknown = condition(found, "PriceUnknown")
    assert (unknown["status"], unknown["reason"]) == ("True", "NoPrice")
    assert "there is no price book 'default': add it to the chart's priceBooks" in unknown["message"]
    assert f"or annotate the node with {ANNOTATION}" in unknown["message"]
    assert "accruedUSD" not in found["cost"]


def test_a_budget_suspends_the_job_within_a_minute_of_rate_and_a_larger_one_resumes_it(operator, prices, namespace):
    budget = {"maxUSD": "20", "onExceed": "Suspend"}
    apply(half("capped", namespace, cost={"budget": budget}))  # a dollar a second
    found = wait_phase("capped", namespace, "Suspended", seconds=120)
    wait("nothing costs any more", lambda: settled("capped", namespace), 30)
    found = status("capped", namespace)
    assert 20 <= Decimal(found["cost"]["accruedUSD"]) <= 20 + 60
    assert (condition(found, "BudgetExceeded")["status"], condition(found, "Suspended")["reason"]) == (
        "True",
        "BudgetSpent",
    )
    assert pods("capped", namespace) == []
    operator.signal(signal.SIGKILL)  # another process holds the budget as well
    operator.start()
    wait("the operator leads again", operator.leads, 60)
    assert status("capped", namespace)["phase"] == "Suspended"
    assert pods("capped", namespace) == []
    told = kubectl("describe", "tj", "capped", "-n", namespace)
    assert "BudgetAtRisk" in told
    assert "SuspendedByBudget" in told
    patch("capped", namespace, cost={"budget": budget | {"maxUSD": "100000"}})
    found = wait_phase("capped", namespace, "Running")
    assert condition(found, "BudgetExceeded")["status"] == "False"


def test_a_budget_that_is_spent_fails_the_job_where_that_is_asked_for(operator, prices, namespace):
    apply(half("spent", namespace, cost={"budget": {"maxUSD": "5", "onExceed": "Fail"}}))
    found = wait("it has failed", lambda: ended("spent", namespace), 120)
    assert condition(found, "Failed")["reason"] == "BudgetExceeded"
    wait("its pods are gone", lambda: not pods("spent", namespace))
    told = kubectl("describe", "tj", "spent", "-n", namespace)
    assert "FailedByBudget" in told
    assert "5 USD (cost.budget.maxUSD) are spent" in told


def ended(name: str, namespace: str) -> Json | None:
    found = status(name, namespace)
    return found if found.get("phase") in ("Succeeded", "Failed") else None
