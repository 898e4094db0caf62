"""What happens to many jobs when the API server is slow, refuses, restarts or cannot be reached."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from bench.limits import account, few_seats
from bench.operator_process import OperatorProcess
from bench.outside import until
from bench.seen import Seen
from bench.steps import PATIENCE_SECONDS, create, namespaces, restart_api_server, settled, wrong
from bench.wire import Wire
from bench.workloads import Workload
from paceline.kube.client import Client

Figures = dict[str, float]
DELAY_SECONDS = 0.2
# Workers that are lost while the leader is cut off, of as many jobs.
LOST = 20


async def measure(client: Client, work: Workload, log: Path) -> Figures:
    """``work`` anew for each trouble. Raises TimeoutError where it does not come through."""
    async with Wire() as wire, account(client) as token:
        operator = OperatorProcess(log, wire.kubeconfig(log.parent, token))
        await operator.start()
        try:
            figures = await burst(client, operator, work, "undisturbed")
            wire.delay = DELAY_SECONDS
            figures |= await burst(client, operator, work, "slow")
            wire.delay = 0.0
            async with few_seats(client):
                before = operator.refused()
                figures |= await burst(client, operator, work, "throttled")
                figures["throttled: refusals a job"] = (operator.refused() - before) / work.jobs
            figures |= await burst(client, operator, work, "API server restarted", _restart_in_the_middle)
            standby = OperatorProcess(log)
            try:
                figures |= await _cut_off(client, wire, operator, standby, work)
            finally:
                standby.stop()
        finally:
            operator.stop()
    return figures


async def _nothing(seen: Seen, work: Workload) -> None:
    """Of a burst whose trouble is there before it, or that has none."""


async def burst(
    client: Client,
    operator: OperatorProcess,
    work: Workload,
    name: str,
    meanwhile: Callable[[Seen, Workload], Awaitable[None]] = _nothing,
) -> Figures:
    prefix = name.replace(" ", "-").lower()
    async with namespaces(client, prefix, work.namespaces), Seen(client) as seen:
        began = time.monotonic()
        await create(client, work.objects(prefix))
        await meanwhile(seen, work)
        await seen.until_all_are("Running", work.jobs, PATIENCE_SECONDS)
        took = time.monotonic() - began
        await settled(operator)
        return {f"{name}: every gang runs": took, f"{name}: pods lost or doubled": float(wrong(seen, work))}


async def _restart_in_the_middle(seen: Seen, work: Workload) -> None:
    await until("a quarter of the workers exists", lambda: seen.count() >= work.workers / 4, PATIENCE_SECONDS)
    await restart_api_server()


async def _cut_off(
    client: Client, wire: Wire, leader: OperatorProcess, standby: OperatorProcess, work: Workload
) -> Figures:
    """The leader's wire is cut and workers are lost; the standby has a wire of its own. Then the leader is heard again."""
    async with namespaces(client, "cut", work.namespaces), Seen(client) as seen:
        await create(client, work.objects("cut"))
        await seen.until_all_are("Running", work.jobs, PATIENCE_SECONDS)
        await settled(leader)
        await standby.stand_by()
        wire.cut()
        began = time.monotonic()
        hit = list(seen.born)[:LOST]
        for job in hit:
            namespace, worker = job.split("/")[0], min(seen.alive[job])
            await client.delete(f"/api/v1/namespaces/{namespace}/pods/{worker}", {"gracePeriodSeconds": 0})
        for job in hit:
            await seen.until_there_are(job, work.pods + 1)
        took = time.monotonic() - began
        await until("the leader that was cut off ends", leader.ended, PATIENCE_SECONDS, pause=0.1)
        ended = time.monotonic() - began
        wire.mend()
        await asyncio.sleep(5)  # what it had sent before arrives now
        await settled(standby)
        return {
            "cut off: lost workers replaced": took,
            "cut off: the old leader ended": ended,
            "cut off: pods lost or doubled": float(wrong(seen, work)),
        }
