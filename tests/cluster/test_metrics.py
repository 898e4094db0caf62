"""The metrics of jobs as a scrape sees them: read by Prometheus' own linter, bounded for each job, and gone with it."""

from __future__ import annotations

import asyncio
import re
import subprocess
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import pytest

from devcluster import packages
from paceline.api import API_VERSION, PLURAL
from paceline.controller.controller import Controller
from paceline.controller.job_metrics import JobMetrics
from paceline.controller.metrics import Metrics
from paceline.kube.client import Client
from paceline.kube.config import load
from paceline.kube.reflector import Reflector, Store
from paceline.plan.observed import Report
from paceline.render.pods import Installation
from tests.figures import NOW, full_job
from tests.kube import Json, apply, job, kubectl, quiet, wait, wait_phase

JOBS = 500
# Of a job whose status says everything; docs/metrics.md gives this figure.
MOST_SERIES = 53
PRICE = "paceline.dev/price-per-hour"


def series(page: str, namespace: str = "") -> set[str]:
    """Names and labels of the jobs' series, of one namespace or all."""
    lines = (line.rsplit(" ", 1)[0] for line in page.splitlines() if line.startswith("paceline_job_"))
    return {line for line in lines if f'namespace="{namespace}' in line}


def by_job(found: set[str]) -> Counter[str]:
    return Counter(re.search('job="([^"]*)"', line)[1] for line in found)


@pytest.fixture(scope="module", autouse=True)
def promtool() -> None:
    packages.install({"promtool": "prometheus"})


def lint(page: str) -> None:
    done = subprocess.run(["promtool", "check", "metrics"], input=page, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_prometheus_linter_has_nothing_to_say_of_all_metrics_that_there_are():
    metrics = Metrics()
    jobs = JobMetrics(lambda: [full_job(), full_job(completionTime="2027-01-15T08:00:00Z")], lambda: NOW, 60)
    metrics.pages.append(jobs.page)
    jobs.reported("job-uid", Report(NOW - 1, step=1), Report(NOW, step=2))
    page = metrics.page().decode()
    assert len(series(page)) == MOST_SERIES
    lint(page)


def test_nor_of_a_job_that_runs_and_its_series_do_not_grow_with_its_workers(operator, namespace):
    apply(job("small", namespace, nodes=1), job("large", namespace, nodes=12))
    wait_phase("small", namespace, "Running")
    wait_phase("large", namespace, "Running")
    found = wait("both are told of", lambda: alike(operator.metrics(), namespace))
    assert found["large"] <= MOST_SERIES
    lint(operator.metrics())


def alike(page: str, namespace: str) -> Counter[str] | None:
    found = by_job(series(page, namespace))
    return found if set(found) == {"small", "large"} and found["small"] == found["large"] else None


def test_what_a_budget_did_is_counted(operator, namespace):
    def suspended() -> float:
        (count,) = re.findall(r'^paceline_budget_actions_total\{action="suspend"\} (\S+)$', operator.metrics(), re.M)
        return float(count)

    nodes, before = [f"kwok-{n}" for n in range(4)], suspended()
    kubectl("annotate", "node", *nodes, f"{PRICE}=3600", "--overwrite")
    try:
        half = {"requests": {"cpu": 32}}  # of each node: half a dollar a second
        apply(job("capped", namespace, resources=half, cost={"budget": {"maxUSD": "1", "onExceed": "Suspend"}}))
        wait_phase("capped", namespace, "Suspended")
        assert suspended() == before + 1
        found = {line for line in series(operator.metrics(), namespace) if line.startswith("paceline_job_info")}
        assert len(found) == 1
        assert 'price_source="annotation"' in found.pop()
    finally:
        kubectl("annotate", "node", *nodes, f"{PRICE}-")


@dataclass(frozen=True)
class Whole:
    resource_version: int
    obj: Json


@asynccontextmanager
async def listening(namespace: str) -> AsyncIterator[Controller]:
    """A controller in this process that hears of the same jobs as the operator, and does nothing about them."""
    client, path = Client(load()), f"/apis/{API_VERSION}/namespaces/{namespace}/{PLURAL}"
    controller = Controller(client, Installation("trainer:1"), {}, Metrics())

    def told(before: Whole | None, after: Whole | None) -> None:
        job = after or before
        assert job is not None
        controller.job_event(job.obj, deleted=after is None)

    def whole(obj: Json) -> Whole:
        return Whole(int(obj["metadata"]["resourceVersion"]), obj)

    # Goes on where the API server ends a watch, as it does where one reads too slowly.
    reflector = Reflector(client, path, Store(told), whole)
    task = asyncio.create_task(reflector.run())
    await reflector.synced.wait()
    try:
        yield controller
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await client.close()


async def test_five_hundred_jobs_come_and_go_and_leave_no_series_and_no_memory(operator, namespace):
    await asyncio.to_thread(quiet)
    await asyncio.to_thread(wait, "the series of earlier tests are gone", lambda: not series(operator.metrics()))
    async with listening(namespace) as controller:
        metrics = JobMetrics(controller.jobs, time.time, 3600)
        controller.on_report(metrics.reported)
        controller.on_gone(metrics.forget)

        def here() -> set[str]:
            return series(metrics.page().decode(), namespace)

        def told() -> Counter[str] | None:
            """Of each job, its series, once the operator tells the same of all that this process hears of."""
            found = series(operator.metrics(), namespace)
            jobs = by_job(found)
            done = len(jobs) == JOBS and sum('phase="Queued"' in line for line in found) == JOBS
            return jobs if done and found == here() else None

        await asyncio.to_thread(apply, *(job(f"many-{n}", namespace, suspend=True) for n in range(JOBS)))
        found = await asyncio.to_thread(
            wait, "all of them are queued, as whoever is suspended from the start", told, 180
        )
        assert len(set(found.values())) == 1, "each has as many as the next"
        assert max(found.values()) <= MOST_SERIES
        print(f"{found['many-0']} series for each of {JOBS} suspended jobs")
        for uid in list(controller._jobs):  # as if each had reported twice
            controller.report(uid, Report(time.time(), step=1))
            controller.report(uid, Report(time.time() + 1, step=2))
        assert len(metrics._served) == len(metrics._steps) == JOBS
        await asyncio.to_thread(kubectl, "delete", "tj", "--all", "-n", namespace, "--wait=false")
        await asyncio.to_thread(wait, "all are gone", lambda: not controller._jobs, 180)
        await asyncio.to_thread(wait, "and their series", lambda: not series(operator.metrics()), 60)
        assert here() == set()
        assert (dict(metrics._served), metrics._steps, controller._uids, controller._gone_of) == ({}, {}, {}, {})
