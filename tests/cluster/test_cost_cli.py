"""`paceline cost` as a user runs it: the real command line, the real API server, and jobs on nodes that have prices."""

from __future__ import annotations

import csv
import io
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest
import yaml

from tests.kube import ROOT, Json, apply, job, kubectl, patch, pods, status, wait, wait_phase

NODES = ("kwok-0", "kwok-1", "kwok-2", "kwok-3")
ANNOTATION = "paceline.dev/price-per-hour"


@pytest.fixture
def prices() -> Iterator[None]:
    """A dollar a second for each node."""
    kubectl("annotate", "node", *NODES, f"{ANNOTATION}=3600", "--overwrite")
    yield
    kubectl("annotate", "node", *NODES, f"{ANNOTATION}-")


def paceline(*arguments: str, kubeconfig: Path | None = None) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "PYTHONPATH": str(ROOT / "operator")} | ({"KUBECONFIG": str(kubeconfig)} if kubeconfig else {})
    command = [sys.executable, "-m", "paceline", "cost", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=env)


def told(*arguments: str) -> Json:
    done = paceline(*arguments, "-o", "json")
    assert done.returncode == 0, done.stderr
    found: Json = json.loads(done.stdout)
    return found


def costs(name: str, namespace: str, team: str) -> Json:
    """A worker that takes eight devices, half of the cores, and so a whole node."""
    limits = {"nvidia.com/gpu": 8, "cpu": 32}
    return job(name, namespace, nodes=1, cost={"team": team}, resources={"limits": limits})


def still(name: str, namespace: str) -> Json | None:
    """Its cost, once it costs nothing any more."""
    cost: Json = status(name, namespace)["cost"]
    return cost if cost["hourlyRateUSD"] == "0.0000" and not pods(name, namespace) else None


def test_what_jobs_have_cost_by_job_namespace_team_and_day(operator, prices, namespace):
    for name, team in (("one", "vision"), ("two", "speech"), ("three", "vision")):
        apply(costs(name, namespace, team))
        wait_phase(name, namespace, "Running")

    def told_of_what_stands() -> tuple[Json, dict[str, Json]] | None:
        """What the command says, and the costs that it says it of: none is written meanwhile."""
        before = {name: status(name, namespace)["cost"] for name in ("one", "two", "three")}
        said = told("-n", namespace)
        return (said, before) if before == {name: status(name, namespace)["cost"] for name in before} else None

    running, stands = wait("the command is quicker than the operator", told_of_what_stands)
    moment = datetime.fromisoformat(running["asOf"]).timestamp()
    for row in running["rows"]:
        known = stands[row["job"]]
        written = datetime.fromisoformat(known["asOf"]).timestamp()
        rate = Decimal(known["hourlyRateUSD"]) / 3600
        assert rate >= 1
        # The status is of whole seconds, and the command of some moment within one.
        least = Decimal(known["accruedUSD"]) + rate * Decimal(moment - written - 1)
        assert least <= Decimal(row["usd"]) <= least + 3 * rate, "up to now at its rate"
        assert Decimal(row["gpuHours"]) > 0
    for name in ("one", "two", "three"):
        patch(name, namespace, suspend=True)
    cost = {name: wait(f"{name} is still", lambda n=name: still(n, namespace)) for name in ("one", "two", "three")}
    exact = {name: Decimal(each["accruedUSD"]) for name, each in cost.items()}
    whole = sum(exact.values())

    by_job = told("-n", namespace)
    assert {row["job"]: Decimal(row["usd"]) for row in by_job["rows"]} == exact
    assert Decimal(by_job["total"]["usd"]) == whole
    order = [Decimal(row["usd"]) for row in by_job["rows"]]
    assert order == sorted(order, reverse=True)
    by_team = {row["team"]: Decimal(row["usd"]) for row in told("-n", namespace, "--by", "team")["rows"]}
    assert by_team == {"vision": exact["one"] + exact["three"], "speech": exact["two"]}
    by_namespace = {row["namespace"]: row for row in told("-A", "--by", "namespace")["rows"]}
    assert (Decimal(by_namespace[namespace]["usd"]), by_namespace[namespace]["jobs"]) == (whole, 3)
    by_day = told("-n", namespace, "--by", "day", "--since", "2d")
    assert sum(Decimal(row["usd"]) for row in by_day["rows"]) == whole
    assert {row["day"] for row in by_day["rows"]} <= {day["date"] for each in cost.values() for day in each["days"]}
    assert told("-n", namespace, "--until", "2026-01-01")["rows"] == []

    table = paceline("-n", namespace).stdout.splitlines()
    assert table[0].split() == ["JOB", "TEAM", "PHASE", "GPU-H", "USD/H", "IDLE", "LOST", "BUDGET", "USD"]
    assert table[4].split()[0] == "TOTAL"
    assert table[4].split()[-1] == f"{whole:,.2f}"
    assert f" UTC on {datetime.now(UTC):%Y-%m-%d}, at the rates of their pods." in table[5]
    assert "paceline_job_cost_usd_total" in table[-1]
    rows = list(csv.DictReader(io.StringIO(paceline("-n", namespace, "-o", "csv").stdout)))
    assert {row["job"]: Decimal(row["usd"]) for row in rows} == exact


def test_without_a_price_hours_are_told_and_dollars_are_unknown(operator, namespace):
    apply(costs("unpriced", namespace, "vision"))
    wait_phase("unpriced", namespace, "Running")
    (row,) = told("-n", namespace)["rows"]
    assert (row["usd"], row["unknown"]) == (None, "price unknown")
    out = paceline("-n", namespace).stdout
    assert "price unknown" in out.splitlines()[1]
    assert f"Without a price, and in no sum of dollars: {namespace}/unpriced" in out


def test_who_may_not_list_jobs_is_told_what_to_ask_for(namespace, tmp_path):
    kubectl("create", "serviceaccount", "nobody", "-n", namespace)
    token = kubectl("create", "token", "nobody", "-n", namespace).strip()
    config = yaml.safe_load(kubectl("config", "view", "--raw", "--flatten", "--minify"))
    config["users"] = [{"name": config["contexts"][0]["context"]["user"], "user": {"token": token}}]
    file = tmp_path / "config"
    file.write_text(yaml.safe_dump(config), encoding="utf-8")
    done = paceline("-n", namespace, kubeconfig=file)
    assert done.returncode == 2
    assert f"not allowed to list TrainingJobs in {namespace}: ask for the right to list them" in done.stderr


def test_a_namespace_without_jobs_is_no_namespace_that_does_not_exist(operator, namespace):
    assert told("-n", namespace)["rows"] == []
    done = paceline("-n", f"{namespace}-not")
    assert (done.returncode, done.stderr) == (2, f"there is no namespace {namespace}-not: see -n and --context\n")
