"""Many jobs on an API server that is slow, or takes two or three requests at a time, as in the bench's workload `trouble`.

Run by `make cluster-test`, with no other operator on the cluster.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from bench.limits import account, few_seats
from bench.operator_process import OperatorProcess
from bench.scenarios import storm
from bench.seen import Seen
from bench.steps import PATIENCE_SECONDS, create, namespaces, settled
from bench.trouble import burst
from bench.wire import Wire
from bench.workloads import Workload
from paceline.kube import config
from paceline.kube.client import Client
from tests.kube import define_kinds

WORK = Workload(jobs=60, pods=8)
# With answers that take so long, the last requests after a storm wait for longer than a lease may.
SLOW_SECONDS = 1.0


@pytest.fixture(autouse=True, scope="module")
def crds() -> None:
    define_kinds()


@asynccontextmanager
async def led(folder: Path) -> AsyncIterator[tuple[Client, Wire, OperatorProcess]]:
    """An operator behind a wire, whose requests may be limited."""
    client, log = Client(config.load()), folder / "operator.log"
    try:
        async with Wire() as wire, account(client) as token:
            operator = OperatorProcess(log, wire.kubeconfig(folder, token))
            await operator.start()
            try:
                yield client, wire, operator
            finally:
                operator.stop()
                print(log.read_text(encoding="utf-8")[-2000:])
    finally:
        await client.close()


def test_the_lease_does_not_wait_behind_hundreds_of_requests(tmp_path: Path) -> None:
    async def a_storm_and_slow_answers() -> bool:
        async with (
            led(tmp_path) as (client, wire, operator),
            namespaces(client, "slow", WORK.namespaces),
            Seen(client) as seen,
        ):
            await create(client, WORK.objects("slow"))
            await seen.until_all_are("Running", WORK.jobs, PATIENCE_SECONDS)
            await settled(operator)
            wire.delay = SLOW_SECONDS
            await operator.during(storm(client, operator, WORK, seen))
            wire.delay = 0.0
            return operator.leads()

    assert asyncio.run(a_storm_and_slow_answers())


def test_where_there_are_few_seats_few_requests_are_refused(tmp_path: Path) -> None:
    async def a_burst_and_few_seats() -> dict[str, float]:
        async with led(tmp_path) as (client, _, operator), few_seats(client):
            work = Workload(jobs=30, pods=8)
            found = await operator.during(burst(client, operator, work, "burst"))
            return found | {"refusals a job": operator.refused() / work.jobs}

    found = asyncio.run(a_burst_and_few_seats())
    assert found["burst: pods lost or doubled"] == 0
    assert found["refusals a job"] < 4, "of some twenty requests"
