"""What it costs the operator that jobs report their progress: each over a connection of its own, as trainers do it."""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path

import aiohttp

from bench.operator_process import OperatorProcess
from bench.outside import cpu_seconds
from bench.seen import Seen
from bench.steps import PATIENCE_SECONDS, create, namespaces, settled, workers
from bench.workloads import Workload
from paceline.api import PLURAL
from paceline.kube.client import Client, Json
from paceline.render.names import token_audience
from tests import certificates

HOST, PORT = "localhost", 18443
# Of each job as many as it may send at once; all together a second's worth of work and more.
JOBS, REPORTS = 50, 20
AT_ONCE = 16


def flags(folder: Path) -> list[str]:
    """Of an operator that takes reports. The address stands in an EndpointSlice, which takes none of the loopback."""
    certificates.make(folder, HOST)
    served = [f"--progress-host={HOST}", f"--progress-port={PORT}", f"--progress-tls-dir={folder}"]
    return [*served, "--pod-ip=172.31.240.1"]


async def measure(client: Client, operator: OperatorProcess, folder: Path) -> dict[str, float]:
    work = Workload(jobs=JOBS, pods=1)
    context = ssl.create_default_context(cafile=folder / "ca.crt")
    async with namespaces(client, "reports", 1), Seen(client) as seen:
        await create(client, work.objects("reports"))
        await seen.until_all_are("Running", JOBS, PATIENCE_SECONDS)
        tokens = {
            pod["metadata"]["labels"]["paceline.dev/job-name"]: await _token(client, pod)
            for pod in await workers(client)
        }
        await settled(operator)
        before = cpu_seconds(operator.pid)
        connector = aiohttp.TCPConnector(ssl=context, limit=AT_ONCE, force_close=True)
        async with aiohttp.ClientSession(f"https://{HOST}:{PORT}", connector=connector) as session:
            for step in range(1, REPORTS + 1):
                await asyncio.gather(*(_report(session, job, token, step) for job, token in tokens.items()))
        await settled(operator)
        return {"CPU a report": (cpu_seconds(operator.pid) - before) / (JOBS * REPORTS) * 1000}


async def _token(client: Client, pod: Json) -> str:
    """As the kubelet projects it: for the job, bound to the pod."""
    meta = pod["metadata"]
    bound = {"kind": "Pod", "apiVersion": "v1", "name": meta["name"], "uid": meta["uid"]}
    audience = token_audience(meta["labels"]["paceline.dev/job-uid"])
    body = {"spec": {"audiences": [audience], "expirationSeconds": 3600, "boundObjectRef": bound}}
    path = f"/api/v1/namespaces/{meta['namespace']}/serviceaccounts/default/token"
    return str((await client.create(path, body))["status"]["token"])


async def _report(session: aiohttp.ClientSession, job: str, token: str, step: int) -> None:
    """Raises ClientResponseError where it is refused."""
    metrics = [{"name": name, "value": str(value)} for name, value in (("current_step", step), ("loss", 0.25))]
    body = {"trainerStatus": {"progressPercentage": step, "estimatedRemainingSeconds": 75, "metrics": metrics}}
    path = f"/v1alpha1/namespaces/reports-0/{PLURAL}/{job}/progress"
    async with session.post(path, json=body, headers={"Authorization": f"Bearer {token}"}) as answer:
        answer.raise_for_status()
