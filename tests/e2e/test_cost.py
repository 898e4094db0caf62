"""Dollars on real kubelets: against the pods' own timestamps, and budgets that save before they stop paying."""

from __future__ import annotations

import time
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import pytest

from tests.e2e.conftest import PRICE
from tests.e2e.test_examples import EXAMPLES, apply_example
from tests.kube import condition, get, kubectl, patch, pods, status, wait, wait_phase
from tests.witness import Witness, binds_at, ends_at, share, unix


@pytest.fixture
def witness(namespace: str, tmp_path: Path) -> Iterator[Witness]:
    watching = Witness(namespace, tmp_path / "pods.json")
    yield watching
    watching.stop()


def steps(name, namespace, beyond):
    return wait(
        f"{name} has trained {beyond} steps",
        lambda: (found := status(name, namespace)).get("progress", {}).get("step", 0) > beyond and found,
        240,
    )


def costs_no_more(name, namespace):
    found = status(name, namespace)
    return found if found["cost"]["hourlyRateUSD"] == "0.0000" else None


def test_with_two_failures_the_ledger_is_the_pods_own_timestamps(namespace, witness):
    text = (EXAMPLES / "07-checkpoints.yaml").read_text(encoding="utf-8")
    assert "epochs: 30" in text
    kubectl("apply", "-n", namespace, "-f", "-", stdin=text.replace("epochs: 30", "epochs: 20"))
    done = 20
    for failure in (1, 2):
        done = steps("saved", namespace, done)["progress"]["step"] + 20
        worker = next(p for p in pods("saved", namespace) if p["status"]["phase"] == "Running")
        kubectl("delete", "pod", worker["metadata"]["name"], "-n", namespace, "--wait=false")
        wait(
            f"failure {failure} is answered",
            lambda n=failure: len(status("saved", namespace).get("failures", [])) >= n,
            120,
        )
        # A step beyond may be one from before, told late; and who is deleted while Python starts does not hear of it.
        wait("all train again", lambda: status("saved", namespace)["goodput"]["part"] == "training", 120)
    wait_phase("saved", namespace, "Succeeded", seconds=400)
    found = wait("nothing costs any more", lambda: costs_no_more("saved", namespace), 60)
    assert [f["cause"] for f in found["failures"]] == ["PodDeleted", "PodDeleted"]
    time.sleep(2)  # the witness hears as late as the operator
    spent, unsure = Decimal(0), Decimal(0)
    nodes = {node["metadata"]["name"]: node for node in get("nodes")}
    for pod in (seen := witness.stop()):
        rate = Decimal(PRICE) / 3600 * share(pod, nodes[pod["spec"]["nodeName"]])
        ended = ends_at(pod)
        if ended is None:  # its kubelet never told: deleted with its end unseen, some moments after that was asked for
            ended = unix(pod["metadata"]["deletionTimestamp"])
            unsure += 5 * rate
        spent += rate * (ended - binds_at(pod))
    assert len(seen) >= 5, "two workers, a store, and a worker in the place of each that was deleted"
    accrued = Decimal(found["cost"]["accruedUSD"])
    assert spent - Decimal("0.0001") - unsure <= accrued <= spent + unsure + Decimal("0.0001")
    assert unsure < spent / 20
    parts = found["goodput"]
    whole = unix(found["completionTime"]) - unix(get("tj", "saved", namespace)["metadata"]["creationTimestamp"])
    assert sum(map(Decimal, parts["seconds"].values())) == whole
    assert sum(map(Decimal, parts["usd"].values())) == accrued
    assert sum(Decimal(day["usd"]) for day in found["cost"]["days"]) == accrued
    assert Decimal(found["lastFailure"]["costUSD"]) > 0
    told = kubectl("describe", "tj", "saved", "-n", namespace)
    for event in ("Started", "Recovered", "Succeeded"):
        assert event in told


def test_a_budget_saves_before_it_stops_paying_and_a_larger_one_goes_on_from_there(namespace):
    apply_example("15-budget.yaml", namespace)
    patch("capped", namespace, cost={"stopWhen": None})
    steps("capped", namespace, 50)
    spent = Decimal(status("capped", namespace)["cost"]["accruedUSD"])
    limit = spent + 15
    budget = {"onExceed": "Suspend", "onForecastExceed": "Warn"}
    patch("capped", namespace, cost={"budget": {**budget, "maxUSD": str(limit)}})
    found = wait_phase("capped", namespace, "Suspended", seconds=150)
    assert condition(found, "Suspended")["reason"] == "BudgetSpent"
    assert found["checkpoint"]["lastStep"] > 50
    found = wait("nothing costs any more", lambda: costs_no_more("capped", namespace), 60)
    rate = Decimal(2) * 60 * PRICE / 3600
    assert Decimal(found["cost"]["accruedUSD"]) <= limit + rate
    patch("capped", namespace, cost={"budget": {**budget, "maxUSD": "100000"}})
    again = steps("capped", namespace, found["checkpoint"]["lastStep"])
    assert again["checkpoint"]["resumedFromStep"] == found["checkpoint"]["lastStep"]
    told = kubectl("describe", "tj", "capped", "-n", namespace)
    assert "SuspendedByBudget" in told


def test_enough_learned_ends_a_job_well_with_its_last_step_saved(namespace):
    apply_example("15-budget.yaml", namespace)
    found = wait_phase("capped", namespace, "Succeeded", seconds=400)
    assert condition(found, "Complete")["reason"] == "MetricReached"
    assert "kept_back_loss is 0." in found["message"]
    assert float(found["stopWhen"]["best"]) <= 0.1
    assert found["progress"]["step"] < found["progress"]["totalSteps"]
    last = wait("the last step is saved", lambda: saved_at_the_end(namespace, found["progress"]["step"]), 90)
    assert last["checkpoint"]["verified"]


def saved_at_the_end(namespace, step):
    found = status("capped", namespace)
    return found if found.get("checkpoint", {}).get("lastStep", 0) >= step else None
