"""Jobs come and go for hours, and things break meanwhile: in the end nothing is lost, wrong, left over or has grown."""

from __future__ import annotations

import asyncio
import random
import signal
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from statistics import mean
from typing import Any

import aiohttp

from bench.operator_process import OperatorProcess
from bench.outside import descriptors, resident_mib, until
from bench.steps import PATIENCE_SECONDS, bring_back, create, namespaces, restart_api_server, settled, workers
from bench.wire import Wire
from devcluster import controlplane
from devcluster.process import Process
from paceline.api import API_VERSION, PLURAL
from paceline.kube.client import ApiError, Client, Json
from paceline.kube.reflector import Reflector, Store
from tests import kube

NAMESPACE = "churn-0"
JOBS_A_MINUTE = 30
# Between two faults, and two samples of what the operator uses.
FAULT_SECONDS, SAMPLE_SECONDS = 20.0, 10.0
# How long the operator serves the series of a job that has ended: short, so that their number comes to rest.
FLAGS = ["--finished-series-seconds=60"]
# Longer than anything keeps us from hearing how a job ended.
TTL_SECONDS = 120
# Of one kind, how many of ten jobs: what becomes of them, and what they have of their own.
KINDS = {"Succeeded": 5, "elastic": 2, "Failed": 1, "resumed": 1, "deleted": 1}
# Memory and series, of the run's last quarter, may be so much more than of its second.
GROWTH = 1.1


@dataclass(frozen=True, slots=True)
class Arrival:
    """A job, what it shall come to (a phase, or "deleted"), and after how many seconds its user does something to it."""

    job: Json
    end: str
    kind: str
    touched_after: float


def arrivals(seed: int) -> Iterator[Arrival]:
    """For ever; the same for the same seed."""
    draw = random.Random(seed)
    number = 0
    while True:
        kind = draw.choices(list(KINDS), list(KINDS.values()))[0]
        nodes = draw.randint(2, 8)
        spec: Json = {"nodes": nodes, "restarts": {"max": 100, "backoffSeconds": 1}}
        ends = {"kwok.paceline.dev/complete-after": f"{draw.randint(5, 40)}s"}
        if kind == "elastic":
            spec["elastic"] = {"minNodes": 1, "maxNodes": nodes, "scaleUpCooldownSeconds": 5}
        if kind == "Failed":
            ends = {"kwok.paceline.dev/fail-after": f"{draw.randint(1, 5)}s"}
            spec["restarts"] = {"max": 1, "backoffSeconds": 1}
        if kind == "resumed":
            spec["suspend"] = True
        # One of five stays until the end of the run, so that what an ended job leaves can be looked at.
        if number % 5:
            spec["ttlSecondsAfterFinished"] = TTL_SECONDS
        job = kube.job(f"{kind.lower()}-{number}", NAMESPACE, ends, **spec)
        end = kind if kind in ("Failed", "deleted") else "Succeeded"
        yield Arrival(job, end, kind, draw.uniform(1, 10))
        number += 1


@dataclass(slots=True)
class Outcome:
    """What a run came to."""

    jobs: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)
    # Of the operator, every SAMPLE_SECONDS: MiB, open files, lines of its metrics.
    samples: list[tuple[float, int, int]] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)


def grown(samples: Sequence[tuple[float, int, int]]) -> list[str]:
    """What the last quarter of a run has more of than its second, in words; nothing of a run too short to tell."""
    quarter = len(samples) // 4
    if quarter < 3:
        return []
    early, late = samples[quarter : 2 * quarter], samples[-quarter:]
    said = []
    for at, what in enumerate(("MiB of memory", "open files", "lines of metrics")):
        before, after = mean(one[at] for one in early), mean(one[at] for one in late)
        if after > before * GROWTH:
            said.append(f"{after:.0f} {what} in the last quarter, {before:.0f} in the second")
    return said


@dataclass(frozen=True, slots=True)
class _Heard:
    resource_version: int
    name: str
    phase: str
    whole: bool


def _heard(obj: Json) -> _Heard:
    meta, status = obj["metadata"], obj.get("status", {})
    return _Heard(int(meta["resourceVersion"]), meta["name"], status.get("phase", ""), kube.ledger_is_whole(status))


class Churn:
    def __init__(self, client: Client, operator: OperatorProcess, wire: Wire, seed: int) -> None:
        self._client, self._operator, self._wire, self._seed = client, operator, wire, seed
        self._draw = random.Random(seed)
        self._expected: dict[str, str] = {}
        # What each job came to, and the jobs that are there.
        self._came_to: dict[str, str] = {}
        self._there: set[str] = set()
        self.outcome = Outcome()

    async def run(self, seconds: float, *, faults: bool, say: Callable[[str], None]) -> Outcome:
        """Raises TimeoutError where the jobs that came do not all end; what is wrong is told in the outcome."""
        jobs = Reflector(self._client, f"/apis/{API_VERSION}/{PLURAL}", Store[_Heard](self._changed), _heard)
        async with namespaces(self._client, "churn", 1), _priced(self._client):
            beside = [jobs.run(), self._as_a_kubelet()]
            meanwhile = [self._sample(say), *([self._break_things()] if faults else [])]
            async with _running(*beside):
                async with _running(*meanwhile):
                    await self._arrive(seconds)
                self._wire.mend()
                self._wire.delay = 0.0
                await self._ended()
        if not faults:
            self.outcome.wrong += grown(self.outcome.samples)
        return self.outcome

    # -- users -----------------------------------------------------------------------------------------------------------

    async def _arrive(self, seconds: float) -> None:
        ends, draw = time.monotonic() + seconds, random.Random(self._seed)
        async with asyncio.TaskGroup() as touches:
            for arrival in arrivals(self._seed):
                if time.monotonic() > ends:
                    break
                name = arrival.job["metadata"]["name"]
                self._expected[name] = arrival.end
                await _surely(partial(create, self._client, [arrival.job]))
                self.outcome.jobs[arrival.kind] += 1
                if arrival.kind in ("resumed", "deleted"):
                    touches.create_task(self._touch(name, arrival))
                await asyncio.sleep(draw.expovariate(JOBS_A_MINUTE / 60))

    async def _touch(self, name: str, arrival: Arrival) -> None:
        await asyncio.sleep(arrival.touched_after)
        path = f"/apis/{API_VERSION}/namespaces/{NAMESPACE}/{PLURAL}/{name}"
        if arrival.kind == "resumed":
            await _surely(lambda: self._client.merge_patch(path, {"spec": {"suspend": False}}))
        else:
            await _surely(lambda: self._client.delete(path))

    # -- what is seen ----------------------------------------------------------------------------------------------------

    def _changed(self, before: _Heard | None, after: _Heard | None) -> None:
        if after is None:
            assert before is not None
            self._there.discard(before.name)
            self._came_to.setdefault(before.name, "deleted")
            return
        self._there.add(after.name)
        if after.phase in ("Succeeded", "Failed") and self._expected[after.name] != "deleted":
            self._came_to[after.name] = after.phase
            if not after.whole:
                self.outcome.wrong.append(f"{after.name}: its ledger does not add up")

    async def _sample(self, say: Callable[[str], None]) -> None:
        began = time.monotonic()
        while True:
            await asyncio.sleep(SAMPLE_SECONDS)
            if self._operator.ended():
                continue  # it is being started again
            memory, files = resident_mib(self._operator.pid), descriptors(self._operator.pid)
            self.outcome.samples.append((memory, files, self._operator.page().count("\n")))
            if len(self.outcome.samples) % 6 == 0:
                minutes = (time.monotonic() - began) / 60
                there = f"{len(self._there)} of {sum(self.outcome.jobs.values())} jobs are there"
                say(f"  {minutes:.0f} min: {there}, {self.outcome.faults.total()} faults, {memory:.0f} MiB")

    async def _ended(self) -> None:
        """Every job came to what it should, its pods are what they should be, and with the jobs all goes."""
        names = set(self._expected)
        for name in names - self._there - set(self._came_to):
            await _surely(partial(self._unheard, name))
        await until("every job has ended", lambda: names <= set(self._came_to), PATIENCE_SECONDS, pause=0.2)
        await settled(self._operator)
        wrong = self.outcome.wrong
        for name, end in self._expected.items():
            if self._came_to[name] != end:
                wrong.append(f"{name}: {self._came_to[name]} instead of {end}")
        live = [p for p in await workers(self._client) if p["status"].get("phase") not in ("Succeeded", "Failed")]
        wrong += [f"{pod['metadata']['name']}: lives on after its job" for pod in live]
        await asyncio.to_thread(kube.kubectl, "delete", "tj", "--all", "-n", NAMESPACE)
        await until("all that was the jobs' is gone", lambda: not self._there, PATIENCE_SECONDS, pause=0.2)
        await asyncio.sleep(5)  # what belonged to the last of them is collected a moment later
        wrong += [f"{name}: left over" for name in kube.leftovers(NAMESPACE)]

    async def _unheard(self, name: str) -> None:
        """Of a job that nothing was heard of: it came and was deleted while nothing was told, or is about to be told of."""
        try:
            await self._client.get(f"/apis/{API_VERSION}/namespaces/{NAMESPACE}/{PLURAL}/{name}")
        except ApiError as error:
            if error.code != 404:
                raise
            self._came_to.setdefault(name, "deleted")

    # -- what breaks -----------------------------------------------------------------------------------------------------

    async def _break_things(self) -> None:
        faults: list[Callable[[], Awaitable[Any]]] = [
            self._lose_a_worker, self._lose_a_store, self._lose_a_node, self._kill_the_operator,
            self._restart_the_api_server, self._slow, self._cut_off,
        ]  # fmt: skip
        while True:
            await asyncio.sleep(self._draw.uniform(0.5, 1.5) * FAULT_SECONDS)
            fault = self._draw.choice(faults)
            self.outcome.faults[fault.__name__.strip("_").replace("_", " ")] += 1
            with suppress(ApiError, aiohttp.ClientError):  # what was to be lost is gone already, or nobody answers yet
                await fault()

    async def _as_a_kubelet(self) -> None:
        """Starts again what has ended: the operator, and the scheduler, which may end itself after an API server's kill."""
        while True:
            await asyncio.sleep(0.5)
            if self._operator.ended():
                self._operator.launch()
            if Process("kube-scheduler").pid() is None:
                self.outcome.faults["scheduler ended itself"] += 1
                await asyncio.to_thread(controlplane.start_scheduler)

    async def _lose_a_worker(self) -> None:
        await self._lose(await workers(self._client))

    async def _lose_a_store(self) -> None:
        selector = "paceline.dev/role=rendezvous"
        await self._lose(
            (await self._client.get(f"/api/v1/namespaces/{NAMESPACE}/pods", labelSelector=selector))["items"]
        )

    async def _lose(self, pods: list[Json]) -> None:
        if pods:
            name = self._draw.choice(sorted(pod["metadata"]["name"] for pod in pods))
            await self._client.delete(f"/api/v1/namespaces/{NAMESPACE}/pods/{name}", {"gracePeriodSeconds": 0})

    async def _lose_a_node(self) -> None:
        nodes = (await self._client.get("/api/v1/nodes"))["items"]
        node = self._draw.choice(sorted(nodes, key=lambda node: str(node["metadata"]["name"])))
        await self._client.delete(f"/api/v1/nodes/{node['metadata']['name']}")
        try:
            await asyncio.sleep(10)
        finally:
            await _surely(lambda: bring_back(self._client, node))

    async def _kill_the_operator(self) -> None:
        self._operator.stop(signal.SIGKILL)

    async def _restart_the_api_server(self) -> None:
        await restart_api_server()

    async def _slow(self) -> None:
        self._wire.delay = 0.2
        await asyncio.sleep(10)
        self._wire.delay = 0.0

    async def _cut_off(self) -> None:
        """Long enough, half of the time, that the leader must give up its lease."""
        self._wire.cut()
        await asyncio.sleep(self._draw.choice([5, 20]))
        self._wire.mend()


@asynccontextmanager
async def _running(*work: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """While the context lasts; then it is cancelled. What one of them raises is raised."""
    tasks = [asyncio.create_task(one) for one in work]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        for ended in await asyncio.gather(*tasks, return_exceptions=True):
            if isinstance(ended, Exception):
                raise ended


@asynccontextmanager
async def _priced(client: Client) -> AsyncIterator[None]:
    """All nodes cost a dollar a second, so that every ledger has something to add up."""

    async def price(dollars: str | None) -> None:
        for node in (await client.get("/api/v1/nodes"))["items"]:
            body = {"metadata": {"annotations": {"paceline.dev/price-per-hour": dollars}}}
            await client.merge_patch(f"/api/v1/nodes/{node['metadata']['name']}", body)

    await price("3600")
    try:
        yield
    finally:
        await price(None)


async def _surely(what: Callable[[], Awaitable[Any]]) -> None:
    """As users would: again, while the API server does not answer. Done already, by a try whose answer was lost, is done."""
    while True:
        try:
            await what()
            return
        except ApiError as error:
            if error.code in (404, 409):
                return
            if error.code < 500 and error.code != 429:
                raise
        except (aiohttp.ClientError, TimeoutError):
            pass
        await asyncio.sleep(0.5)
