"""Asks Prometheus for the use of devices, every half minute; without it everything else goes on."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import aiohttp

from paceline.controller import utilization
from paceline.controller.utilization import AnswerError, Found, Series
from paceline.plan.observed import Measured, PodRecord

log = logging.getLogger(__name__)

TIMEOUT_SECONDS = 10


@dataclass(frozen=True)
class Source:
    """Where Prometheus is, and what it calls the series: NVIDIA renames them."""

    url: str
    # 0 to 1, and 0 to 100 for pods that do not have it.
    active: str = "DCGM_FI_PROF_GR_ENGINE_ACTIVE"
    utilization: str = "DCGM_FI_DEV_GPU_UTIL"
    every_seconds: float = 30


class Poller:
    def __init__(
        self,
        source: Source,
        pods: Callable[[], Iterable[PodRecord]],
        use: Callable[[dict[str, Measured]], None],
        clock: Callable[[], float],
    ) -> None:
        """``use`` is given what is known of each job, by its uid, after every question; jobs of which nothing is known are not in
        it. ``clock``: Unix seconds."""
        self._source, self._pods, self._use, self._clock = source, pods, use, clock
        self._active, self._fallback = Series(source.active, 1), Series(source.utilization, 100)
        self._last: dict[str, Measured] = {}
        self._away = False

    async def run(self) -> None:
        """Until cancelled. Nothing that Prometheus or the network does ends it."""
        timeout = aiohttp.ClientTimeout(total=TIMEOUT_SECONDS)
        async with aiohttp.ClientSession(timeout=timeout) as session:
            while True:
                await self.poll(session)
                await asyncio.sleep(self._source.every_seconds)

    async def poll(self, session: aiohttp.ClientSession) -> None:
        """Asks once, where there is something to ask for. While Prometheus is away, what it said last holds as long as it is
        fresh."""
        pods = utilization.with_devices(self._pods())
        self._last = await self._try(session, pods) if pods else {}
        self._use(self._last)

    async def _try(self, session: aiohttp.ClientSession, pods: list[PodRecord]) -> dict[str, Measured]:
        try:
            found = await self._measure(session, pods)
        except (AnswerError, aiohttp.ClientError, TimeoutError, ValueError) as error:
            if not self._away:
                log.warning("Prometheus does not tell the use of devices: %s", error or repr(error))
            self._away = True
            now = self._clock()
            return {uid: each for uid, each in self._last.items() if utilization.fresh(each.time, now)}
        if self._away:
            log.info("Prometheus tells the use of devices again")
        self._away = False
        return found

    async def _measure(self, session: aiohttp.ClientSession, pods: list[PodRecord]) -> dict[str, Measured]:
        active = await self._ask(session, self._active)
        fallback: Found = await self._ask(session, self._fallback) if utilization.lacks(pods, active) else {}
        return utilization.join(pods, active, fallback, self._clock())

    async def _ask(self, session: aiohttp.ClientSession, series: Series) -> Found:
        url = f"{self._source.url.rstrip('/')}/api/v1/query"
        async with session.get(url, params={"query": series.query}) as answer:
            body = await answer.read()
            if answer.status != 200:
                raise AnswerError(f"HTTP {answer.status}: {body[:200].decode(errors='replace')}")
        return await asyncio.to_thread(_parse, body, series)


def _parse(body: bytes, series: Series) -> Found:
    """A cluster of thousands of devices makes megabytes of it."""
    answer: Any = json.loads(body)
    return utilization.parse(answer, series)
