"""When pods and jobs were what: heard by watches of the bench's own, beside the operator's."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import Any

from bench.outside import until
from paceline.api import API_VERSION, PLURAL
from paceline.controller import records
from paceline.kube.client import Client, Json
from paceline.kube.reflector import Reflector, Store
from paceline.plan.observed import PodRecord


@dataclass(frozen=True, slots=True)
class _Job:
    resource_version: int
    key: str
    phase: str


def _job(obj: Json) -> _Job:
    meta = obj["metadata"]
    phase = obj.get("status", {}).get("phase", "")
    return _Job(int(meta["resourceVersion"]), f"{meta['namespace']}/{meta['name']}", phase)


class Seen:
    """By namespace/name of a job; times are of time.monotonic()."""

    def __init__(self, client: Client) -> None:
        # When each worker was first heard of, and first running, by its name: those that are gone among them.
        self.workers: dict[str, dict[str, float]] = {}
        self.running: dict[str, dict[str, float]] = {}
        # The workers that are there now.
        self.alive: dict[str, set[str]] = {}
        # When each job's status first said each phase, and what it says now.
        self.told: dict[str, dict[str, float]] = {}
        self.phases: dict[str, str] = {}
        pods, jobs = Store[PodRecord](self._pod), Store[_Job](self._job)
        self._reflectors: list[Reflector[Any]] = [
            Reflector(client, "/api/v1/pods", pods, records.pod, labelSelector="paceline.dev/role=worker"),
            Reflector(client, f"/apis/{API_VERSION}/{PLURAL}", jobs, _job),
        ]

    async def __aenter__(self) -> Seen:
        self._tasks = [asyncio.create_task(reflector.run()) for reflector in self._reflectors]
        for reflector in self._reflectors:
            await reflector.synced.wait()
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def count(self) -> int:
        return sum(map(len, self.workers.values()))

    async def until_there_are(self, job: str, count: int) -> None:
        """So many workers of a job, those that are gone again among them. Raises TimeoutError."""
        await until(f"{job} has had {count} workers", lambda: len(self.workers.get(job, ())) >= count, 60)

    async def until_all_are(self, phase: str, jobs: int, seconds: float) -> None:
        """So many jobs, and no other. Raises TimeoutError."""
        await until(
            f"{jobs} jobs are {phase}", lambda: list(self.phases.values()) == [phase] * jobs, seconds, pause=0.05
        )

    def lags(self, phase: str = "Running") -> list[float]:
        """From the last worker's start to the status that says so, of each job that came to run, in seconds."""
        told = ((job, phases[phase]) for job, phases in self.told.items() if phase in phases)
        return [at - max(self.running[job].values()) for job, at in told if job in self.running]

    def _pod(self, before: PodRecord | None, after: PodRecord | None) -> None:
        pod = after or before
        assert pod is not None
        job, now = f"{pod.namespace}/{pod.job_name}", time.monotonic()
        if after is None:
            self.alive.get(job, set()).discard(pod.name)
            return
        if before is None:
            self.workers.setdefault(job, {}).setdefault(pod.name, now)
            self.alive.setdefault(job, set()).add(pod.name)
        if pod.phase == "Running":
            self.running.setdefault(job, {}).setdefault(pod.name, now)

    def _job(self, before: _Job | None, after: _Job | None) -> None:
        job = after or before
        assert job is not None
        if after is None:
            self.phases.pop(job.key, None)
            return
        self.phases[job.key] = job.phase
        self.told.setdefault(job.key, {}).setdefault(job.phase, time.monotonic())
