"""What can be seen without asking the operator: when pods appeared, what the API server was asked, what processes use."""

from __future__ import annotations

import asyncio
import os
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from paceline.controller import records
from paceline.kube.client import Client
from paceline.kube.reflector import Reflector, Store
from paceline.plan.observed import PodRecord

TICKS = os.sysconf("SC_CLK_TCK")
WRITES = ("POST", "PUT", "PATCH", "DELETE")
_REQUESTS = re.compile(r'^apiserver_request_total\{.*?resource="(\w+)".*?verb="(\w+)".*\} (\S+)$')


class Arrivals:
    """When each worker was first heard of, by namespace/name of its job and its own name, by a watch of the bench's."""

    def __init__(self, client: Client) -> None:
        self.workers: dict[str, dict[str, float]] = {}
        store: Store[PodRecord] = Store(self._changed)
        path, role = "/api/v1/pods", "paceline.dev/role=worker"
        self._reflector = Reflector(client, path, store, records.pod, labelSelector=role)
        self._task = asyncio.create_task(self._reflector.run())

    async def ready(self) -> None:
        await self._reflector.synced.wait()

    def count(self) -> int:
        return sum(map(len, self.workers.values()))

    async def until_there_are(self, job: str, count: int) -> None:
        """So many workers of a job, those that are gone again among them. Raises TimeoutError."""
        await until(f"{job} has had {count} workers", lambda: len(self.workers.get(job, ())) >= count, 60)

    def _changed(self, before: PodRecord | None, after: PodRecord | None) -> None:
        if before is None and after is not None:
            job = f"{after.namespace}/{after.job_name}"
            self.workers.setdefault(job, {}).setdefault(after.name, time.monotonic())

    def stop(self) -> None:
        self._task.cancel()


async def asked(client: Client) -> dict[str, int]:
    """What the API server was asked so far, by "VERB resource", by everybody."""
    found: dict[str, int] = {}
    async for line in client.lines("/metrics"):
        if match := _REQUESTS.match(line.decode()):
            key = f"{match[2]} {match[1]}"
            found[key] = found.get(key, 0) + int(float(match[3]))
    return found


def resident_mib(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    found = re.search(r"VmRSS:\s+(\d+) kB", status)
    assert found is not None, status
    return int(found[1]) / 1024


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


async def until(what: str, true: Callable[[], Any], seconds: float) -> None:
    """Raises TimeoutError that says what did not come."""
    ends = time.monotonic() + seconds
    while not true():
        if time.monotonic() > ends:
            raise TimeoutError(f"not within {seconds:.0f} s: {what}")
        await asyncio.sleep(0.01)
