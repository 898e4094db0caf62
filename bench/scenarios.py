"""What is measured, each from the outside and in one pass: figures by name, as bench/figures.py describes them."""

from __future__ import annotations

import asyncio
import statistics
import time
from dataclasses import replace
from typing import Any

from bench.operator_process import OperatorProcess
from bench.outside import asked, cpu_seconds, descriptors, more, quantile, resident_mib, until, written
from bench.seen import Seen
from bench.steps import (
    PATIENCE_SECONDS,
    WORKER,
    apiserver,
    bring_back,
    create,
    create_namespaces,
    namespaces,
    settled,
    workers,
    writes,
    wrong,
)
from bench.workloads import Workload
from paceline.kube.client import Client
from paceline.plan import pace

Json = dict[str, Any]
Figures = dict[str, float]
IDLE_SECONDS = 20
# In which the status of every job that costs is written once (plan/pace.py).
ALL_REFRESHED_SECONDS = pace.LONGEST_REFRESH_SECONDS
REPLACEMENTS, IN_A_CROWD = 40, 10
# Restarts and fail-overs of what is measured once.
TIMES = 3
# Nodes that vanish at once.
STORM_SHARE = 0.1


async def one_at_a_time(client: Client, operator: OperatorProcess, work: Workload) -> Figures:
    """Jobs on an idle operator, one after another: from create to the last of its pods."""
    took = []
    async with namespaces(client, "single", 1), Seen(client) as seen:
        for job in work.objects("single"):
            key = f"single-0/{job['metadata']['name']}"
            began = time.monotonic()
            await create(client, [job])
            await seen.until_there_are(key, work.pods)
            took.append(seen.born[key][-1] - began)
            await settled(operator)
    return {"one job to its last pod, p50": quantile(took, 0.5), "one job to its last pod, p99": quantile(took, 0.99)}


async def happy_life(client: Client, operator: OperatorProcess, work: Workload) -> Figures:
    """Requests a job from its creation to its success; ``work`` has seconds."""
    async with namespaces(client, "life", work.namespaces), Seen(client) as seen:
        await settled(operator)
        own, everybody = operator.asked(), await asked(client)
        await create(client, work.objects("life"))
        await seen.until_all_are("Succeeded", work.jobs, PATIENCE_SECONDS)
        await settled(operator)
        own = more(own, operator.asked())
        everybody = more(everybody, await asked(client))
    return {
        "writes a job": writes(own) / work.jobs,
        **{f"{verb} a job": own.get(verb, 0) / work.jobs for verb in ("POST", "PATCH", "DELETE")},
        # The lease's renewals are a GET and a PUT each.
        "reads a job": (own.get("GET", 0) - own.get("PUT", 0)) / work.jobs,
        "writes a job, whole cluster": sum(written(everybody).values()) / work.jobs,
    }


async def standing(client: Client, operator: OperatorProcess, work: Workload) -> Figures:
    """All jobs at once, which then run on, and what happens to them: lost workers, a restart, a fail-over, a storm."""
    async with namespaces(client, "standing", work.namespaces), Seen(client) as seen:
        figures = await _start(client, operator, work, seen)
        figures |= await _idle(operator, IDLE_SECONDS)
        figures |= await _replacements(client, seen)
        figures |= await _in_a_crowd(client, work, seen)
        await settled(operator)
        figures |= await _restart(operator, work.jobs)
        figures |= await _fail_over(operator, work.jobs)
        figures |= await storm(client, operator, work, seen)
        figures["pods lost or doubled"] = float(wrong(seen, work))
        template = (await client.get("/api/v1/namespaces/standing-0/pods", limit="1", labelSelector=WORKER))["items"][0]
    figures["pods a second, bare client"] = bare = await _bare(client, template, work)
    figures["of the bare client's rate"] = figures["pods a second"] / bare
    figures["open files"] = float(descriptors(operator.pid))
    return figures


async def very_many(client: Client, operator: OperatorProcess, work: Workload) -> Figures:
    """More jobs than the rest is done with: their start, what it costs to have them, lost workers, a restart, a fail-over."""
    await create_namespaces(client, "standing", work.namespaces)
    async with Seen(client) as seen:
        figures = await _start(client, operator, work, seen)
        figures |= await _idle(operator, ALL_REFRESHED_SECONDS)
        figures |= await _replacements(client, seen)
        figures |= await _restart(operator, work.jobs, TIMES)
        figures |= await _fail_over(operator, work.jobs, TIMES)
        figures["memory after a fail-over"] = resident_mib(operator.pid)
        figures["pods lost or doubled"] = float(wrong(seen, work))
    return figures


async def start_and_losses(client: Client, operator: OperatorProcess, work: Workload) -> Figures:
    """Of the same the beginning, which costs most: to compare versions of the operator by."""
    async with namespaces(client, "standing", work.namespaces), Seen(client) as seen:
        figures = await _start(client, operator, work, seen)
        figures |= await _replacements(client, seen)
        return figures | await _in_a_crowd(client, work, seen)


# -- parts of it ---------------------------------------------------------------------------------------------------------


async def _start(client: Client, operator: OperatorProcess, work: Workload, seen: Seen) -> Figures:
    """All jobs at once, until all run and all is quiet again."""
    await settled(operator)
    api, at_rest, before = apiserver(), resident_mib(operator.pid), operator.asked()
    cpu, looks, began = (cpu_seconds(operator.pid), cpu_seconds(api)), operator.looks(), time.monotonic()
    await create(client, work.objects("standing"))
    await until("every worker exists", lambda: seen.count() >= work.workers, work.patience)
    took = seen.last() - began
    await seen.until_all_are("Running", work.jobs, work.patience)
    all_run = time.monotonic() - began
    if not work.stays:  # of very many there is always one whose status is due
        await settled(operator)
    lags, memory = seen.lags(), resident_mib(operator.pid)
    return {
        "all pods": took,
        "pods a second": work.workers / took,
        "all jobs run": all_run,
        "CPU a pod": (cpu_seconds(operator.pid) - cpu[0]) / work.workers * 1000,
        "CPU a pod, API server": (cpu_seconds(api) - cpu[1]) / work.workers * 1000,
        "reconciles a start": (operator.looks() - looks) / work.jobs,
        "PATCH a start": more(before, operator.asked()).get("PATCH", 0) / work.jobs,
        "start to status, p50": quantile(lags, 0.5),
        "start to status, p99": quantile(lags, 0.99),
        "memory at rest": at_rest,
        "memory": memory,
        "memory a job": (memory - at_rest) * 1024 / work.jobs,
    }


async def _idle(operator: OperatorProcess, seconds: float) -> Figures:
    """Of a core, while all jobs run and nothing happens."""
    before, asked_before = cpu_seconds(operator.pid), operator.asked()
    await asyncio.sleep(seconds)
    return {
        "CPU at rest": (cpu_seconds(operator.pid) - before) / seconds,
        "writes a second at rest": writes(more(asked_before, operator.asked())) / seconds,
    }


async def _replacements(client: Client, seen: Seen) -> Figures:
    """Of many jobs, one after another, on an operator that has nothing else to do."""
    took = [await _replaced(client, seen, job) for job in list(seen.born)[:REPLACEMENTS]]
    return {"lost worker replaced, p50": quantile(took, 0.5), "lost worker replaced, p99": quantile(took, 0.99)}


async def _in_a_crowd(client: Client, work: Workload, seen: Seen) -> Figures:
    """The same, while half as many jobs again come at once."""
    crowd, jobs, before = replace(work, jobs=work.jobs // 2), list(seen.born)[-IN_A_CROWD:], seen.count()
    async with namespaces(client, "crowd", crowd.namespaces):
        coming = asyncio.create_task(create(client, crowd.objects("crowd")))
        await until("they come", lambda: seen.count() >= before + crowd.workers / 10, PATIENCE_SECONDS)
        took = await asyncio.gather(*(_replaced(client, seen, job) for job in jobs))
        await coming
    await until("they are gone", lambda: len(seen.phases) == work.jobs, PATIENCE_SECONDS)
    return {"lost worker replaced in a crowd, p50": quantile(took, 0.5)}


async def _replaced(client: Client, seen: Seen, job: str) -> float:
    """Seconds from the deletion of a worker to the pod in its place."""
    namespace, victim, known = job.split("/", maxsplit=1)[0], min(seen.alive[job]), len(seen.born[job])
    began = time.monotonic()
    await client.delete(f"/api/v1/namespaces/{namespace}/pods/{victim}", {"gracePeriodSeconds": 0})
    await seen.until_there_are(job, known + 1)
    return seen.born[job][-1] - began


async def _restart(operator: OperatorProcess, jobs: int, times: int = 1) -> Figures:
    """Until the new process has caught up with the jobs, the mean of so many times; and what all of them wrote until ten seconds
    after that, without the lease."""
    took, written = [], 0
    for _ in range(times):
        operator.stop()
        began = time.monotonic()
        await operator.start()
        # Asked more often, it would take longer.
        await until("the queue is empty", lambda: operator.has_caught_up(jobs), PATIENCE_SECONDS, pause=0.1)
        took.append(time.monotonic() - began)
        await asyncio.sleep(10)
        written += writes(operator.asked())
    return {"restart to an empty queue": statistics.mean(took), "writes after a restart": float(written)}


async def _fail_over(operator: OperatorProcess, jobs: int, times: int = 1) -> Figures:
    """From the leader's kill -9 until the standby has caught up with the jobs; it is the operator from then on. As _restart."""
    took, written = [], 0
    for _ in range(times):
        took.append(await operator.fail_over(jobs, PATIENCE_SECONDS))
        await asyncio.sleep(5)
        written += writes(operator.asked())
    return {"fail-over to an empty queue": statistics.mean(took), "writes after a fail-over": float(written)}


async def storm(client: Client, operator: OperatorProcess, work: Workload, seen: Seen) -> Figures:
    """A tenth of the nodes vanish at once: until every gang is whole again, on the others."""
    names = sorted(node["metadata"]["name"] for node in (await client.get("/api/v1/nodes"))["items"])
    gone = set(names[:: round(1 / STORM_SHARE)])
    nodes = [await client.get(f"/api/v1/nodes/{name}") for name in gone]
    hit = {p["metadata"]["name"] for p in await workers(client) if p["spec"].get("nodeName") in gone}
    if not hit:
        raise RuntimeError(f"no worker runs on {', '.join(sorted(gone))}: are these nodes ready?")
    asked_before, began = operator.asked(), time.monotonic()
    await asyncio.gather(*(client.delete(f"/api/v1/nodes/{name}") for name in gone))
    await until("its pods are gone", lambda: not hit & set().union(*seen.alive.values()), PATIENCE_SECONDS, pause=0.1)
    await seen.until_all_are("Running", work.jobs, PATIENCE_SECONDS)
    took = time.monotonic() - began
    await settled(operator)
    figures = {
        "storm: every gang whole": took,
        "storm: writes a lost pod": writes(more(asked_before, operator.asked())) / len(hit),
    }
    for node in nodes:
        await bring_back(client, node)
    return figures


async def _bare(client: Client, template: Json, work: Workload) -> float:
    """Pods a second of a client that does nothing but create them."""
    spec = {key: value for key, value in template["spec"].items() if key not in ("nodeName", "serviceAccount")}
    annotations = template["metadata"].get("annotations", {})

    def pod(n: int) -> Json:
        return {"metadata": {"name": f"bare-{n}", "annotations": annotations}, "spec": spec}

    async with namespaces(client, "bare", work.namespaces):
        began = time.monotonic()
        await asyncio.gather(
            *(client.create(f"/api/v1/namespaces/bare-{n % work.namespaces}/pods", pod(n)) for n in range(work.workers))
        )
        return work.workers / (time.monotonic() - began)
