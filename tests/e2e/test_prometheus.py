"""Every query of every dashboard, and every rule, against a real Prometheus that scrapes the real operator and real trainers.

With PACELINE_ARTEFACTS the answers are left there, for `python -m tools.dashboards.draw` (docs/dashboards.md)."""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.compressed import COST, compression_object, full_status
from tests.e2e.conftest import PRICE, PRICE_ANNOTATION, SYSTEM
from tests.e2e.prometheus import ADDRESS, GPU, RULES, SCRAPE_SECONDS, Prometheus, prometheus
from tests.kube import Json, apply, get, kubectl, pods, status, wait, wait_phase
from tools.dashboards.reading import FOLDER, Query, load, queries
from tools.install import install

pytestmark = pytest.mark.alone

NAMESPACE, JOB = "prometheus", "digits"
# Later than now: the series of what has ended are served for an hour.
ENDED = "2036-01-01T00:00:00Z"
# Both nodes are said to be machines of eight H100, one of them a spot one; the price book has their prices.
MACHINE = {"node.kubernetes.io/instance-type": "p5.48xlarge", "topology.kubernetes.io/region": "us-west-2"}
CAPACITY = {"n1": "spot", "n2": "on-demand"}
# Metrics that have no series here, and why. A row that is no longer true fails its test.
ABSENT = {
    "paceline_job_mfu_ratio": "the program knows no peak of a processor, and there are no GPUs",
    "paceline_job_tokens_total": "images and tables have no tokens",
}
RECORDS = {
    rule["record"]: rule["expr"]
    for file in RULES
    for group in yaml.safe_load(file.read_text(encoding="utf-8"))["groups"]
    for rule in group["rules"]
    if "record" in rule
}


def needs_absent(expr: str) -> bool:
    """Whether it asks for a metric that is absent, or for what is recorded of one."""
    return any(metric in expr for metric in ABSENT) or any(
        name in expr and needs_absent(rule) for name, rule in RECORDS.items()
    )


def every_query(seconds: int) -> list[Query]:
    variables = {
        "namespace": NAMESPACE,
        "job": JOB,
        "__range": f"{seconds}s",
        "__range_s": str(seconds),
        "__rate_interval": f"{10 * SCRAPE_SECONDS}s",
    }
    return [query for file in sorted(FOLDER.glob("*.json")) for query in queries(file.stem, load(file), variables)]


SMALL = {"requests": {"cpu": "100m", "memory": "512Mi"}, "limits": {"memory": "3Gi"}}


def recipe(job: str, name: str, nodes: int, params: Json, **spec: Any) -> Json:
    return {
        "apiVersion": "paceline.dev/v1alpha1",
        "kind": "TrainingJob",
        "metadata": {"name": job, "namespace": NAMESPACE},
        "spec": {"recipe": {"name": name, "params": params}, "nodes": nodes, "processesPerNode": 1, "resources": SMALL}
        | spec,
    }


CLAIM = {
    "apiVersion": "v1",
    "kind": "PersistentVolumeClaim",
    "metadata": {"name": "checkpoints", "namespace": NAMESPACE},
    "spec": {"accessModes": ["ReadWriteMany"], "resources": {"requests": {"storage": "1Gi"}}},
}


@dataclass(frozen=True)
class Seen:
    """What Prometheus answered at one moment of a run in which a worker's pod was deleted."""

    prometheus: Prometheus
    answers: dict[str, list[Json]]


def gpus(node: str, count: int) -> None:
    """Has the node offer devices that are not there, as Kubernetes lets one advertise extended resources; 0: no more."""
    path = f"/status/capacity/{GPU.replace('/', '~1')}"
    change = {"op": "add", "path": path, "value": str(count)} if count else {"op": "remove", "path": path}
    kubectl("patch", "node", node, "--subresource=status", "--type=json", "-p", json.dumps([change]))


@pytest.fixture(scope="module")
def priced() -> Iterator[None]:
    kubectl("annotate", "nodes", "--all", f"{PRICE_ANNOTATION}-")
    for node, capacity in CAPACITY.items():
        labels = MACHINE | {"paceline.dev/capacity-type": capacity}
        kubectl("label", "node", node, "--overwrite", *(f"{name}={value}" for name, value in labels.items()))
        gpus(node, 8)
    install(SYSTEM, "--set", f"prometheus.url=http://{ADDRESS},prometheus.everySeconds=5")
    kubectl("create", "namespace", NAMESPACE)
    wait("its service account", lambda: "default" in kubectl("get", "serviceaccount", "-n", NAMESPACE, "-o", "name"))
    yield
    kubectl("delete", "namespace", NAMESPACE, "--timeout=120s")
    install(SYSTEM)
    for node in CAPACITY:
        gpus(node, 0)
        kubectl("label", "node", node, *(f"{name}-" for name in (*MACHINE, "paceline.dev/capacity-type")))
    kubectl("annotate", "nodes", "--all", f"{PRICE_ANNOTATION}={PRICE}")


def compressed() -> None:
    """A CompressionJob that has ended, by its status: what it takes to get there is test_compression's matter."""
    job = compression_object(name=JOB) | {"apiVersion": "paceline.dev/v1alpha1", "kind": "CompressionJob"}
    apply(job | {"metadata": {"name": JOB, "namespace": NAMESPACE}, "status": {}})
    wait("the operator has seen it", lambda: get("compressionjob", JOB, NAMESPACE).get("status"))
    condition = {"type": "Complete", "status": "True", "reason": "Accepted", "message": "", "lastTransitionTime": ENDED}
    cost = COST | {"byJob": {"uid": COST["accruedUSD"]}}
    done = full_status(completionTime=ENDED, observedGeneration=1, conditions=[condition], cost=cost)
    change = json.dumps({"status": done})
    kubectl("patch", "compressionjob", JOB, "-n", NAMESPACE, "--subresource=status", "--type=merge", "-p", change)


@pytest.fixture(scope="module")
def seen(priced: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Seen]:
    with prometheus(tmp_path_factory.mktemp("prometheus")) as server:
        began = time.time()
        compressed()
        volume = {"volume": {"persistentVolumeClaim": {"claimName": "checkpoints"}}, "everySteps": 100, "keep": 2}
        apply(
            CLAIM,
            recipe(
                JOB,
                "image-classification",
                2,
                {"epochs": 400},
                checkpoint=volume,
                cost={"team": "vision", "budget": {"maxUSD": "0.4"}},
                resources=SMALL | {"limits": SMALL["limits"] | {GPU: 1}},
            ),
            recipe("diabetes", "linear-regression", 1, {}, cost={"team": "tables"}),
        )
        wait_phase("diabetes", NAMESPACE, "Succeeded", seconds=240)
        saved = wait("a checkpoint", lambda: status(JOB, NAMESPACE).get("checkpoint", {}).get("lastStep"), 240)
        wait("steps to lose", lambda: status(JOB, NAMESPACE)["progress"]["step"] > saved + 40, 120)
        worker = pods(JOB, NAMESPACE)[0]["metadata"]["name"]
        kubectl("delete", "pod", worker, "-n", NAMESPACE, "--grace-period=0", "--force")
        wait("it was restarted", lambda: status(JOB, NAMESPACE).get("restarts", {}).get("total"), 120)
        wait(
            "it trains again, and has saved again",
            lambda: (s := status(JOB, NAMESPACE))["phase"] == "Running" and s["checkpoint"]["lastStep"] > saved + 300,
            240,
        )
        answers: dict[str, list[Json]] = {}
        end = time.time()

        def answered() -> bool:
            """All at one moment; what is missing may come with the next scrape, rule or status."""
            nonlocal end
            end = time.time()
            for query in every_query(int(end - began) + 60):
                over = server.over(query.expr, began, end)
                answers[query.key] = server.now(query.expr, end) if query.instant else over
            return all(answers[q.key] or needs_absent(q.expr) for q in every_query(60))

        with contextlib.suppress(AssertionError):  # each test says for its own query that there was none
            wait("an answer to every query", answered, 120)
        folder = os.environ.get("PACELINE_ARTEFACTS")
        if folder:
            Path(folder).mkdir(parents=True, exist_ok=True)
            found = {"start": began, "end": end, "answers": answers}
            (Path(folder) / "dashboards.json").write_text(json.dumps(found), encoding="utf-8")
        yield Seen(server, answers)


@pytest.mark.parametrize("query", [q for q in every_query(60) if not needs_absent(q.expr)], ids=lambda q: q.key)
def test_a_query_of_a_dashboard_returns_series(seen: Seen, query: Query) -> None:
    assert seen.answers[query.key], query.expr


@pytest.mark.parametrize("record", [name for name, expr in RECORDS.items() if not needs_absent(expr)])
def test_a_recording_rule_records(seen: Seen, record: str) -> None:
    wait(record, lambda: seen.prometheus.now(record, time.time()), 60)


@pytest.mark.parametrize("metric", ABSENT)
def test_what_is_called_absent_is(seen: Seen, metric: str) -> None:
    assert seen.prometheus.now(metric, time.time()) == [], ABSENT[metric]


def test_every_rule_can_be_evaluated(seen: Seen) -> None:
    found = seen.prometheus.rules()
    assert {rule["name"] for rule in found} >= set(RECORDS)
    assert [(rule["name"], rule.get("lastError")) for rule in found if rule["health"] != "ok"] == []


def test_both_processes_of_the_operator_are_scraped_and_one_leads(seen: Seen) -> None:
    # A scrape that takes longer than the interval leaves its target without series for that time.
    leaders = wait(
        "both are scraped", lambda: len(found := seen.prometheus.now("paceline_leader", time.time())) > 1 and found, 60
    )
    assert sorted(series["value"][1] for series in leaders) == ["0", "1"]
    assert {series["metric"]["namespace"] for series in leaders} == {"paceline-system"}


def test_an_alert_of_the_jobs_budget_fires(seen: Seen) -> None:
    asked = f'ALERTS{{alertname=~"PacelineBudget.*", job="{JOB}", namespace="{NAMESPACE}"}}'
    wait("it is spent", lambda: seen.prometheus.now(asked, time.time()), 120)


def test_a_jobs_series_keep_their_own_labels(seen: Seen) -> None:
    asked = f'job:paceline_cost_usd:max{{job="{JOB}"}}'
    (found,) = wait("its cost", lambda: seen.prometheus.now(asked, time.time()), 60)
    assert found["metric"]["namespace"] == NAMESPACE, "the training job's, not the operator's"
