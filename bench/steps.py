"""What every measurement is made of: namespaces, jobs, and waiting until all is quiet."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager

from bench.operator_process import OperatorProcess
from bench.outside import WRITES
from bench.seen import Seen
from bench.workloads import Workload
from devcluster import controlplane
from devcluster.process import Process, end
from paceline.api import API_VERSION, PLURAL
from paceline.kube.client import ApiError, Client, Json

# A run that needs longer than this for one step has failed.
PATIENCE_SECONDS = 900
WORKER = "paceline.dev/role=worker"


@asynccontextmanager
async def namespaces(client: Client, prefix: str, count: int) -> AsyncIterator[None]:
    """``prefix``-0, -1, …; they and all in them are gone before the next figure is taken."""
    names = await create_namespaces(client, prefix, count)
    try:
        yield
    finally:
        for name in names:
            await client.delete(f"/api/v1/namespaces/{name}", {"gracePeriodSeconds": 0})
        for name in names:
            await _there(client, f"/api/v1/namespaces/{name}", there=False)


async def create_namespaces(client: Client, prefix: str, count: int) -> list[str]:
    """``prefix``-0, -1, …, ready for pods."""
    names = [f"{prefix}-{n}" for n in range(count)]
    for name in names:
        await client.create("/api/v1/namespaces", {"metadata": {"name": name}})
    for name in names:  # a pod is refused, or waits for seconds, where there is none yet
        await _there(client, f"/api/v1/namespaces/{name}/serviceaccounts/default", there=True)
    return names


async def create(client: Client, objects: Iterable[Json]) -> None:
    """All at once."""
    root = f"/apis/{API_VERSION}/namespaces"
    await asyncio.gather(*(client.create(f"{root}/{o['metadata']['namespace']}/{PLURAL}", o) for o in objects))


async def settled(operator: OperatorProcess) -> None:
    """Nothing to do for a second, and no write in it."""
    before: int | None = None
    while True:
        now = writes(operator.asked()) if operator.idle() else None
        if now is not None and now == before:
            return
        before = now
        await asyncio.sleep(1)


async def restart_api_server() -> None:
    """Killed, and started at once: it is away for some seconds. Raises ClusterError where it does not come back."""

    def restart() -> None:
        end([apiserver()], grace_seconds=0)
        time.sleep(1)  # its port is held until the last of its threads is gone
        controlplane.start_api_server()

    await asyncio.to_thread(restart)


def writes(requests: dict[str, int]) -> int:
    """Of the operator's requests by verb; the lease's are not among them: nothing else is PUT."""
    return sum(requests.get(verb, 0) for verb in WRITES if verb != "PUT")


def apiserver() -> int:
    """Its process. Raises RuntimeError."""
    pid = Process("kube-apiserver").pid()
    if pid is None:
        raise RuntimeError("no embedded cluster is up: python -m devcluster up --nodes 0 --kwok-nodes 20")
    return pid


async def workers(client: Client) -> list[Json]:
    """The pods of all jobs but their stores."""
    found: list[Json] = (await client.get("/api/v1/pods", labelSelector=WORKER, resourceVersion="0"))["items"]
    return found


def wrong(seen: Seen, work: Workload) -> int:
    """Workers that are missing or more than were asked for, over all jobs that are there; two of one index are one too many."""
    there = (seen.alive.get(job, set()) for job in seen.phases)
    return sum(
        abs(work.pods - len(alive)) + len(alive) - len({name.rsplit("-", 1)[0] for name in alive}) for alive in there
    )


async def bring_back(client: Client, node: Json) -> None:
    """A node that was deleted, empty, with the size that it had."""
    meta = {key: node["metadata"].get(key, {}) for key in ("labels", "annotations")}
    size = {key: node["status"][key] for key in ("capacity", "allocatable")}
    spec = {"taints": node["spec"].get("taints", [])}
    body = {"metadata": meta | {"name": node["metadata"]["name"]}, "spec": spec, "status": size}
    await client.create("/api/v1/nodes", body)


async def _there(client: Client, path: str, *, there: bool) -> None:
    ends = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < ends:
        try:
            await client.get(path)
            found = True
        except ApiError as error:
            if error.code != 404:
                raise
            found = False
        if found == there:
            return
        await asyncio.sleep(0.1)
    raise TimeoutError(f"not within {PATIENCE_SECONDS} s: {path} is {'there' if there else 'gone'}")
