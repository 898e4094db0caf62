"""What happens to many jobs when the API server is slow, refuses, restarts or cannot be reached."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from bench.operator_process import OperatorProcess
from bench.outside import until
from bench.seen import Seen
from bench.steps import PATIENCE_SECONDS, create, namespaces, restart_api_server, settled, wrong
from bench.wire import Wire
from bench.workloads import Workload
from paceline.kube.client import ApiError, Client, Json

Figures = dict[str, float]
DELAY_SECONDS = 0.2
# Workers that are lost while the leader is cut off, of as many jobs.
LOST = 20
ACCOUNT = "bench-operator"
_FLOW = "/apis/flowcontrol.apiserver.k8s.io/v1"


async def measure(client: Client, work: Workload, log: Path) -> Figures:
    """``work`` anew for each trouble. Raises TimeoutError where it does not come through."""
    async with Wire() as wire, _account(client) as token:
        operator = OperatorProcess(log, wire.kubeconfig(log.parent, token))
        await operator.start()
        try:
            figures = await _burst(client, operator, work, "undisturbed")
            wire.delay = DELAY_SECONDS
            figures |= await _burst(client, operator, work, "slow")
            wire.delay = 0.0
            async with _few_seats(client):
                before = operator.refused()
                figures |= await _burst(client, operator, work, "throttled")
                figures["throttled: refusals a job"] = (operator.refused() - before) / work.jobs
            figures |= await _burst(client, operator, work, "API server restarted", _restart_in_the_middle)
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


async def _burst(
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


# -- a user that may do all, but whose requests are limited like anybody's ------------------------------------------------


@asynccontextmanager
async def _account(client: Client) -> AsyncIterator[str]:
    """A token. Administrators by certificate are exempt from the API server's limits; this account is not."""
    account = f"/api/v1/namespaces/default/serviceaccounts/{ACCOUNT}"
    binding = {
        "metadata": {"name": ACCOUNT},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"},
        "subjects": [{"kind": "ServiceAccount", "name": ACCOUNT, "namespace": "default"}],
    }
    bindings = "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings"
    made: list[tuple[str, Json]] = [
        (account.rpartition("/")[0], {"metadata": {"name": ACCOUNT}}),
        (bindings, binding),
    ]
    async with _made(client, *made):
        request = {"spec": {"expirationSeconds": 4 * 3600}}
        yield str((await client.create(f"{account}/token", request))["status"]["token"])


@asynccontextmanager
async def _few_seats(client: Client) -> AsyncIterator[None]:
    """The API server serves the account two or three requests at a time and refuses the others with 429."""
    limited = {"nominalConcurrencyShares": 1, "lendablePercent": 0, "borrowingLimitPercent": 0}
    level = {
        "metadata": {"name": ACCOUNT},
        "spec": {"type": "Limited", "limited": limited | {"limitResponse": {"type": "Reject"}}},
    }
    anything = {"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"], "clusterScope": True, "namespaces": ["*"]}
    subject = {"kind": "ServiceAccount", "serviceAccount": {"namespace": "default", "name": ACCOUNT}}
    schema = {
        "metadata": {"name": ACCOUNT},
        "spec": {
            "priorityLevelConfiguration": {"name": ACCOUNT},
            "matchingPrecedence": 100,
            "rules": [{"subjects": [subject], "resourceRules": [anything]}],
        },
    }
    async with _made(client, (f"{_FLOW}/prioritylevelconfigurations", level), (f"{_FLOW}/flowschemas", schema)):
        await asyncio.sleep(5)  # the API server reads its limits from a watch
        yield


@asynccontextmanager
async def _made(client: Client, *objects: tuple[str, Json]) -> AsyncIterator[None]:
    """Objects by the path of their list, while the context lasts; those that an interrupted run has left are taken over."""
    for path, body in objects:
        try:
            await client.create(path, body)
        except ApiError as error:
            if error.code != 409:
                raise
    try:
        yield
    finally:
        for path, body in objects:
            await client.delete(f"{path}/{body['metadata']['name']}")
