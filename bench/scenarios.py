"""What is measured, each from the outside and in one pass: figures by name, in seconds, MiB, and counts a job."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable
from typing import Any

from bench.operator_process import OperatorProcess
from bench.outside import WRITES, Arrivals, asked, cpu_seconds, resident_mib, until
from bench.workloads import Workload
from devcluster.process import Process
from paceline.kube.client import ApiError, Client

Json = dict[str, Any]
Figures = dict[str, float]
JOBS = "/apis/paceline.dev/v1alpha1"
# A run that needs longer than this for one step has failed.
PATIENCE_SECONDS = 300


async def burst(client: Client, operator: OperatorProcess, work: Workload) -> Figures:
    """All jobs at once, which then run on; the same pods by a bare client; a lost worker; a restart of the operator."""
    async with _Namespaces(client, "burst", work.namespaces), _Watching(client) as seen:
        api, began = _apiserver(), time.monotonic()
        cpu = cpu_seconds(operator.pid), cpu_seconds(api)
        await _create(client, work.objects("burst"))
        await until("every worker exists", lambda: seen.count() >= work.jobs * work.pods, PATIENCE_SECONDS)
        took = max(t for pods in seen.workers.values() for t in pods.values()) - began
        figures = {
            "create to last pod (s)": took,
            "pods a second": work.jobs * work.pods / took,
            "operator's CPU a pod (ms)": (cpu_seconds(operator.pid) - cpu[0]) / (work.jobs * work.pods) * 1000,
            "API server's CPU a pod (ms)": (cpu_seconds(api) - cpu[1]) / (work.jobs * work.pods) * 1000,
        }
        await _all_are(client, "Running")
        await _settled(operator)
        figures["operator's memory (MiB)"] = resident_mib(operator.pid)
        figures["lost worker to its replacement, median (s)"] = await _replacement(client, seen)
        await _settled(operator)
        figures |= await _restart(operator)
        template = (await client.get("/api/v1/namespaces/burst-0/pods", limit="1", labelSelector=_WORKER))["items"][0]
    figures["bare client: pods a second"] = bare = await _bare(client, template, work)
    figures["of the bare client's rate"] = figures["pods a second"] / bare
    return figures


async def one_at_a_time(client: Client, operator: OperatorProcess, work: Workload) -> Figures:
    """Jobs on an idle operator, one after another: from create to the last of its pods."""
    took = []
    async with _Namespaces(client, "single", 1), _Watching(client) as seen:
        for job in Workload(work.jobs, work.pods).objects("single"):
            key = f"single-0/{job['metadata']['name']}"
            began = time.monotonic()
            await _create(client, [job])
            await seen.until_there_are(key, work.pods)
            took.append(max(seen.workers[key].values()) - began)
            await _settled(operator)
    return {"create to last pod, p50 (s)": _quantile(took, 0.5), "create to last pod, p99 (s)": _quantile(took, 0.99)}


async def happy_life(client: Client, operator: OperatorProcess, work: Workload) -> Figures:
    """Requests a job from its creation to its success."""
    async with _Namespaces(client, "life", work.namespaces):
        await _settled(operator)
        own, everybody = operator.asked(), await asked(client)
        await _create(client, work.objects("life"))
        await _all_are(client, "Succeeded")
        await _settled(operator)
        own = _more(own, operator.asked())
        everybody = _more(everybody, await asked(client))
    writes = sum(n for key, n in everybody.items() if key.split()[0] in WRITES and "leases" not in key)
    renewals = own.get("PUT", 0)  # of the lease, each after a GET of it: nothing else is PUT
    return {
        "operator's writes a job": (_writes(own) - renewals) / work.jobs,
        "operator's reads a job": (own.get("GET", 0) - renewals) / work.jobs,
        "whole cluster's writes a job": writes / work.jobs,
    }


# -- steps ---------------------------------------------------------------------------------------------------------------

_WORKER = "paceline.dev/role=worker"


class _Namespaces:
    def __init__(self, client: Client, prefix: str, count: int) -> None:
        self._client, self._names = client, [f"{prefix}-{n}" for n in range(count)]

    async def __aenter__(self) -> None:
        for name in self._names:
            await self._client.create("/api/v1/namespaces", {"metadata": {"name": name}})

    async def __aexit__(self, *_: object) -> None:
        """They and all in them are gone before the next figure is taken."""
        for name in self._names:
            await self._client.delete(f"/api/v1/namespaces/{name}", {"gracePeriodSeconds": 0})
        for name in self._names:
            await _gone(self._client, f"/api/v1/namespaces/{name}")


class _Watching:
    def __init__(self, client: Client) -> None:
        self._client = client

    async def __aenter__(self) -> Arrivals:
        self._seen = Arrivals(self._client)
        await self._seen.ready()
        return self._seen

    async def __aexit__(self, *_: object) -> None:
        self._seen.stop()


async def _create(client: Client, objects: Iterable[Json]) -> None:
    await asyncio.gather(
        *(client.create(f"{JOBS}/namespaces/{o['metadata']['namespace']}/trainingjobs", o) for o in objects)
    )


async def _all_are(client: Client, phase: str) -> None:
    ends = time.monotonic() + PATIENCE_SECONDS
    while {job.get("status", {}).get("phase") for job in (await client.get(f"{JOBS}/trainingjobs"))["items"]} != {
        phase
    }:
        if time.monotonic() > ends:
            raise TimeoutError(f"not within {PATIENCE_SECONDS} s: every job is {phase}")
        await asyncio.sleep(1)


async def _settled(operator: OperatorProcess) -> None:
    """Nothing to do for a second, and no write in it."""
    before: dict[str, int] = {}
    while not operator.idle() or _writes(operator.asked()) - _writes(before) > 1:  # one may be the lease's
        before = operator.asked()
        await asyncio.sleep(1)


async def _replacement(client: Client, seen: Arrivals, times: int = 11) -> float:
    took = []
    for job in list(seen.workers)[:times]:
        namespace, victim, known = job.split("/")[0], next(iter(seen.workers[job])), len(seen.workers[job])
        began = time.monotonic()
        await client.delete(f"/api/v1/namespaces/{namespace}/pods/{victim}", {"gracePeriodSeconds": 0})
        await seen.until_there_are(job, known + 1)
        took.append(max(seen.workers[job].values()) - began)
    return _quantile(took, 0.5)


async def _restart(operator: OperatorProcess) -> Figures:
    """Until the new process leads and has nothing to do, and what it wrote in ten seconds, without the lease."""
    operator.stop()
    began = time.monotonic()
    await operator.start()
    await until("the queue is empty", operator.idle, PATIENCE_SECONDS)
    took = time.monotonic() - began
    await asyncio.sleep(10)
    found = operator.asked()
    return {
        "restart to an empty queue (s)": took,
        "writes after a restart": _writes(found) - found.get("PUT", 0),  # only the lease is PUT
    }


async def _bare(client: Client, template: Json, work: Workload) -> float:
    """Pods a second of a client that does nothing but create them."""
    spec = {key: value for key, value in template["spec"].items() if key not in ("nodeName", "serviceAccount")}
    annotations = template["metadata"].get("annotations", {})

    def pod(n: int) -> Json:
        return {"metadata": {"name": f"bare-{n}", "annotations": annotations}, "spec": spec}

    async with _Namespaces(client, "bare", work.namespaces):
        began = time.monotonic()
        await asyncio.gather(
            *(
                client.create(f"/api/v1/namespaces/bare-{n % work.namespaces}/pods", pod(n))
                for n in range(work.jobs * work.pods)
            )
        )
        return work.jobs * work.pods / (time.monotonic() - began)


async def _gone(client: Client, path: str) -> None:
    while True:
        try:
            await client.get(path)
        except ApiError as error:
            if error.code == 404:
                return
            raise
        await asyncio.sleep(0.5)


def _apiserver() -> int:
    pid = Process("kube-apiserver").pid()
    if pid is None:
        raise RuntimeError("no embedded cluster is up: python -m devcluster up --nodes 0 --kwok-nodes 20")
    return pid


def _writes(requests: dict[str, int]) -> int:
    return sum(requests.get(verb, 0) for verb in WRITES)


def _more(before: dict[str, int], after: dict[str, int]) -> dict[str, int]:
    return {key: count - before.get(key, 0) for key, count in after.items()}


def _quantile(values: list[float], share: float) -> float:
    return sorted(values)[min(int(share * len(values)), len(values) - 1)]
