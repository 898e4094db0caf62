"""When pods and jobs were what: heard by watches of the bench's own, beside those of what it measures."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import Any, Self

from bench.outside import until
from paceline.api import API_VERSION, PLURAL
from paceline.kube.client import Client, Json
from paceline.kube.reflector import Reflector, Store


@dataclass(frozen=True, slots=True)
class _Pod:
    resource_version: int
    job: str
    name: str
    phase: str


@dataclass(frozen=True, slots=True)
class _Job:
    resource_version: int
    key: str
    phase: str


def _job(obj: Json) -> _Job:
    meta = obj["metadata"]
    phase = obj.get("status", {}).get("phase", "")
    return _Job(int(meta["resourceVersion"]), f"{meta['namespace']}/{meta['name']}", phase)


class Workers:
    """By namespace/name of a job; times are of time.monotonic()."""

    def __init__(self, client: Client, selector: str, job_label: str) -> None:
        """``job_label`` names the job of a pod."""
        # When each worker was first heard of: those that are gone among them, and again those that came back by their name.
        self.born: dict[str, list[float]] = {}
        # When each was first running, by its name.
        self.running: dict[str, dict[str, float]] = {}
        # The workers that are there now.
        self.alive: dict[str, set[str]] = {}

        def record(obj: Json) -> _Pod:
            meta = obj["metadata"]
            job = f"{meta['namespace']}/{meta['labels'][job_label]}"
            return _Pod(int(meta["resourceVersion"]), job, meta["name"], obj["status"].get("phase", ""))

        self._reflectors: list[Reflector[Any]] = [
            Reflector(client, "/api/v1/pods", Store[_Pod](self._pod), record, labelSelector=selector)
        ]

    async def __aenter__(self) -> Self:
        self._tasks = [asyncio.create_task(reflector.run()) for reflector in self._reflectors]
        for reflector in self._reflectors:
            await reflector.synced.wait()
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def count(self) -> int:
        return sum(map(len, self.born.values()))

    def last(self) -> float:
        """When the last of all was heard of."""
        return max(times[-1] for times in self.born.values())

    async def until_there_are(self, job: str, count: int, seconds: float = 60) -> None:
        """So many workers of a job, those that are gone again among them. Raises TimeoutError."""
        await until(f"{job} has had {count} workers", lambda: len(self.born.get(job, ())) >= count, seconds)

    def _pod(self, before: _Pod | None, after: _Pod | None) -> None:
        pod, now = after or before, time.monotonic()
        assert pod is not None
        if after is None:
            self.alive.get(pod.job, set()).discard(pod.name)
            return
        if before is None:
            self.born.setdefault(pod.job, []).append(now)
            self.alive.setdefault(pod.job, set()).add(pod.name)
        if pod.phase == "Running":
            self.running.setdefault(pod.job, {}).setdefault(pod.name, now)


class Seen(Workers):
    """Paceline's workers, and its jobs."""

    def __init__(self, client: Client) -> None:
        super().__init__(client, "paceline.dev/role=worker", "paceline.dev/job-name")
        # When each job's status first said each phase, and what it says now.
        self.told: dict[str, dict[str, float]] = {}
        self.phases: dict[str, str] = {}
        self._reflectors.append(Reflector(client, f"/apis/{API_VERSION}/{PLURAL}", Store[_Job](self._job), _job))

    async def until_all_are(self, phase: str, jobs: int, seconds: float) -> None:
        """So many jobs, and no other. Raises TimeoutError."""
        await until(
            f"{jobs} jobs are {phase}", lambda: list(self.phases.values()) == [phase] * jobs, seconds, pause=0.05
        )

    def lags(self, phase: str = "Running") -> list[float]:
        """From the last worker's start to the status that says so, of each job that came to run, in seconds."""
        told = ((job, phases[phase]) for job, phases in self.told.items() if phase in phases)
        return [at - max(self.running[job].values()) for job, at in told if job in self.running]

    def _job(self, before: _Job | None, after: _Job | None) -> None:
        job = after or before
        assert job is not None
        if after is None:
            self.phases.pop(job.key, None)
            return
        self.phases[job.key] = job.phase
        self.told.setdefault(job.key, {}).setdefault(job.phase, time.monotonic())
