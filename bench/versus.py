"""One system after another on one cluster, by the same code: what its user waits for, and what that costs.

Everything is seen from outside: pods by a watch, requests by the API server's counters, CPU and memory by /proc.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import aiohttp

from bench.outside import asked, cpu_seconds, more, quantile, resident_mib, until, written
from bench.peers.system import System
from bench.seen import Workers
from bench.steps import apiserver, namespaces
from bench.workloads import Workload
from devcluster.console import ClusterError
from devcluster.process import Process
from paceline.kube.client import ApiError, Client
from tests.reading import RefusedError

Figures = dict[str, float]
# A minute of replacements, one after another, and at most so many.
REPLACEMENTS, REPLACING_SECONDS = 20, 60
# Before a burst: what everybody's processes take while nothing happens.
REST_SECONDS = 5
# Of the API server, which has much to do after kinds as large as the peers' were installed.
RESTING_CORES, RESTING_PATIENCE_SECONDS = 0.2, 120
# Nothing is written for so long: controllers with limits have their full bursts again.
QUIET_SECONDS = 2
QUIET_PATIENCE_SECONDS = 180
# What does not come is noted, and the next figure or system taken.
_FAILURES = (OSError, ApiError, ClusterError, RefusedError, RuntimeError, aiohttp.ClientError)


@dataclass
class Measured:
    figures: Figures = field(default_factory=dict)
    # Writes a job of the whole cluster while all jobs start, by "VERB resource".
    writes: dict[str, float] = field(default_factory=dict)
    # What did not come, in words.
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Patience:
    """Seconds until a step that has not ended is given up."""

    single: float
    burst: float


async def measure(
    client: Client, system: System, work: Workload, singles: int, patience: Patience, say: Callable[[str], None]
) -> Measured:
    """All figures of one system, which is started for them and stopped; what fails is noted."""
    found = Measured()

    async def step(what: str, doing: Awaitable[Figures]) -> bool:
        say(what)
        try:
            found.figures |= await doing
        except _FAILURES as error:
            found.notes.append(f"{what}: {error}")
            say(found.notes[-1])
            return False
        return True

    async def many() -> Figures:
        async with namespaces(client, "all", work.namespaces), _workers(client, system) as seen:
            came = await step("all jobs at once", _burst(client, system, work, seen, patience.burst, found))
            if came and system.replaces:
                await step("lost workers", _replacements(client, seen, patience.single))
            say("cleaning up")
        return {}

    try:
        if await step("start", _start(system)):
            await step("one job at a time", _one_at_a_time(client, system, singles, work.pods, patience.single))
            await step("many jobs", many())
    finally:
        system.stop()
    return found


# -- parts of it ---------------------------------------------------------------------------------------------------------


async def _start(system: System) -> Figures:
    await system.start()
    ends = time.monotonic() + RESTING_PATIENCE_SECONDS
    while (cores := (await _resting({"": [apiserver()]}))[""]) > RESTING_CORES:
        if time.monotonic() > ends:
            raise TimeoutError(f"the API server takes {cores:.1f} cores after {RESTING_PATIENCE_SECONDS} s with no job")
    return {}


def _workers(client: Client, system: System) -> Workers:
    return Workers(client, system.selector or system.job_label, system.job_label)


async def _create(client: Client, system: System, work: Workload) -> None:
    """All jobs at once."""
    objects = [
        one for n in range(work.jobs) for one in system.objects(f"job-{n}", f"all-{n % work.namespaces}", work.pods)
    ]
    await asyncio.gather(*(client.create(path, body) for path, body in objects))


async def _one_at_a_time(client: Client, system: System, singles: int, pods: int, patience: float) -> Figures:
    """From create to the last worker, of jobs on an idle controller; the very first one is not counted."""
    took = []
    async with namespaces(client, "single", 1), _workers(client, system) as seen:
        for n in range(singles + 1):
            objects = system.objects(f"job-{n}", "single-0", pods)
            began = time.monotonic()
            await asyncio.gather(*(client.create(path, body) for path, body in objects))
            await seen.until_there_are(f"single-0/job-{n}", pods, patience)
            took.append(seen.born[f"single-0/job-{n}"][-1] - began)
            await quiet(client)
    took = took[1:]
    return {"one job to its last pod, p50": quantile(took, 0.5), "one job to its last pod, p99": quantile(took, 0.99)}


async def _burst(
    client: Client, system: System, work: Workload, seen: Workers, patience: float, found: Measured
) -> Figures:
    """All jobs at once; what processes take while nothing happens is not counted, for a slow one has more of that."""
    whose: dict[str, list[int]] = {", API server": [apiserver()], ", controller manager": [_controller_manager()]}
    if system.pids():
        whose[""] = system.pids()
        found.figures["memory at rest"] = sum(map(resident_mib, system.pids()))
    resting = await _resting(whose)
    asked_before, cpu_before = written(await asked(client)), _cpu(whose)
    began = time.monotonic()
    await _create(client, system, work)
    try:
        await until("", lambda: seen.count() >= work.workers, patience)
    except TimeoutError:
        there = seen.count()
        found.figures["pods a second"] = there / (time.monotonic() - began)
        raise TimeoutError(f"{there} of {work.workers} pods after {patience:.0f} s") from None
    took = seen.last() - began
    figures = {"all pods": took, "pods a second": work.workers / took}
    await until("all run", lambda: sum(map(len, seen.running.values())) >= work.workers, patience, pause=0.1)
    # Taken before all is quiet, for the counters are many, and to read them is work, too.
    cpu_after, ended = _cpu(whose), time.monotonic()
    for name in whose:
        used = cpu_after[name] - cpu_before[name] - resting[name] * (ended - began)
        figures[f"CPU a pod{name}"] = max(used, 0.0) / work.workers * 1000
    await quiet(client)
    added = more(asked_before, written(await asked(client)))
    found.writes = {key: count / work.jobs for key, count in added.items() if count}
    figures["writes a job, whole cluster"] = sum(found.writes.values())
    if system.pids():
        figures["memory"] = sum(map(resident_mib, system.pids()))
    return figures


async def _replacements(client: Client, seen: Workers, patience: float) -> Figures:
    """From the deletion of a worker to the pod in its place, of many jobs, one after another."""
    took, ends = list[float](), time.monotonic() + REPLACING_SECONDS
    for job in list(seen.born)[:REPLACEMENTS]:
        namespace, victim, known = job.split("/")[0], max(seen.alive[job]), len(seen.born[job])
        began = time.monotonic()
        await client.delete(f"/api/v1/namespaces/{namespace}/pods/{victim}", {"gracePeriodSeconds": 0})
        await seen.until_there_are(job, known + 1, patience)
        took.append(seen.born[job][known] - began)
        if time.monotonic() > ends:
            break
        await asyncio.sleep(1)  # so that no controller's limit of requests is met by what this asks of it
    return {
        "lost worker replaced, p50": quantile(took, 0.5),
        "lost worker replaced, p99": quantile(took, 0.99),
        "lost workers": float(len(took)),
    }


async def quiet(client: Client) -> None:
    """Until nobody writes anything. Raises TimeoutError."""
    before, ends = dict[str, int](), time.monotonic() + QUIET_PATIENCE_SECONDS
    while (now := written(await asked(client))) != before:
        if time.monotonic() > ends:
            last = {key: n for key, n in more(before, now).items() if n}
            raise TimeoutError(f"still written after {QUIET_PATIENCE_SECONDS} s: {last}")
        before = now
        await asyncio.sleep(QUIET_SECONDS)


def _controller_manager() -> int:
    pid = Process("kube-controller-manager").pid()
    if pid is None:
        raise RuntimeError("there is no controller manager")
    return pid


async def _resting(whose: dict[str, list[int]]) -> dict[str, float]:
    """Cores."""
    before = _cpu(whose)
    await asyncio.sleep(REST_SECONDS)
    return {name: (after - before[name]) / REST_SECONDS for name, after in _cpu(whose).items()}


def _cpu(whose: dict[str, list[int]]) -> dict[str, float]:
    return {name: sum(map(cpu_seconds, pids)) for name, pids in whose.items()}
