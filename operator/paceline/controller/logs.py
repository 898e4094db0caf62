"""Progress from log lines, for programs that cannot report: follows the workers' logs and matches spec.progress.logPattern.

Which worker prints is not known beforehand (rank 0 is wherever torchrun puts it), so all are followed until one matches.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

import aiohttp
import re2

from paceline.api import TRAINER_CONTAINER
from paceline.api import conditions as c
from paceline.api.status import Metric
from paceline.api.trainingjob import TrainingJob
from paceline.kube.client import ApiError, Client
from paceline.plan.observed import PodRecord, Report

log = logging.getLogger(__name__)

# Logs followed at most per job before one matches.
FOLLOWED = 16
# Lines of the past to read when a follow begins (after a restart of the operator they give the rate).
TAIL_LINES = 200
REPORT_EVERY_SECONDS = 1.0
MAX_LINE_BYTES = 8192


@dataclass
class Following:
    """The streams of one job."""

    pattern: str
    tasks: dict[str, asyncio.Task[None]] = field(default_factory=dict)  # by pod uid
    source: str = ""  # uid of the pod whose lines match


class LogFollower:
    def __init__(self, client: Client, report: Callable[[str, Report], None]) -> None:
        """``report(job_uid, report)`` takes what was found."""
        self._client, self._report = client, report
        self._jobs: dict[str, Following] = {}

    def changed(self, job: TrainingJob, pods: Iterable[PodRecord]) -> None:
        """Follow what is new; a finished job's streams end by themselves with their containers."""
        pattern, uid = job.spec.progress.log_pattern, job.metadata.uid
        if pattern is None or c.holds(job.status.conditions, c.COMPLETE):
            return
        following = self._jobs.setdefault(uid, Following(pattern))
        workers = [p for p in pods if p.role == "worker" and p.container.running_since is not None]
        newest = max((p.attempt for p in workers), default=0)
        for pod in sorted(workers, key=lambda p: p.index)[:FOLLOWED]:
            source = following.tasks.get(following.source)
            settled = source is not None and not source.done()
            if pod.attempt == newest and pod.uid not in following.tasks and not settled:
                following.tasks[pod.uid] = asyncio.create_task(self._follow(uid, following, pod))

    def gone(self, uid: str) -> None:
        following = self._jobs.pop(uid, None)
        for task in following.tasks.values() if following else ():
            task.cancel()

    async def _follow(self, uid: str, following: Following, pod: PodRecord) -> None:
        path = f"/api/v1/namespaces/{pod.namespace}/pods/{pod.name}/log"
        params: dict[str, Any] = {"container": TRAINER_CONTAINER, "follow": "true", "timestamps": "true"}
        params["tailLines"] = str(TAIL_LINES)
        found = Progress(re2.compile(following.pattern))
        last, told = None, 0.0
        try:
            async for line in self._client.lines(path, **params):
                read = found.read(line[:MAX_LINE_BYTES].decode(errors="replace"))
                if read is None:
                    continue
                report = replace(read, attempt=pod.attempt)
                if following.source != pod.uid:
                    self._settle(following, pod.uid)
                last = report
                if report.time - told >= REPORT_EVERY_SECONDS:
                    self._report(uid, report)
                    last, told = None, report.time
        except (ApiError, aiohttp.ClientError, TimeoutError) as error:
            log.warning("log of pod %s not followed: %s", pod.name, error)
            following.tasks.pop(pod.uid, None)  # the next event of the job tries again
        if last is not None:
            self._report(uid, last)

    def _settle(self, following: Following, pod_uid: str) -> None:
        following.source = pod_uid
        for other, task in following.tasks.items():
            if other != pod_uid:
                task.cancel()


class Progress:
    """Reads log lines with their timestamps; knows the rate from the first matched line on."""

    def __init__(self, pattern: Any) -> None:
        self._pattern = pattern
        self._first: tuple[int, float] | None = None

    def read(self, line: str) -> Report | None:
        """The report that an RFC 3339-stamped line holds, if the pattern finds one."""
        stamp, _, text = line.partition(" ")
        match = self._pattern.search(text)
        if match is None:
            return None
        found: dict[str, str] = {name: value for name, value in match.groupdict().items() if value is not None}
        step, total = _integer(found.pop("step", "")), _integer(found.pop("total", ""))
        if step is None:
            return None
        time = datetime.fromisoformat(stamp).timestamp()
        if self._first is None or step < self._first[0]:
            self._first = (step, time)
        eta = None
        done, seconds = step - self._first[0], time - self._first[1]
        if total and done > 0:
            eta = max(0, round((total - step) * seconds / done))
        epoch, rate = found.pop("epoch", None), found.pop("samples_per_second", None)
        return Report(
            time=time,
            step=step,
            total_steps=total,
            epoch=epoch,
            eta_seconds=eta,
            samples_per_second=rate,
            metrics=tuple(Metric(name=name[:128], value=value[:64]) for name, value in found.items()),
        )


def _integer(text: str) -> int | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return int(number) if math.isfinite(number) else None
