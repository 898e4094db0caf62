"""Metrics and probes. Alive is who makes progress, not who merely exists."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST

from paceline.controller.metrics import Metrics

# A watch hears of a bookmark about once a minute and is renewed after four to five.
WATCH_SILENCE_SECONDS = 360.0
RECONCILE_SECONDS = 180.0
LAG_PERIOD_SECONDS = 1.0


class Health:
    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self.longest_reconcile: Callable[[], float] = lambda: 0.0

    def complaint(self) -> str | None:
        """Why this process should be started anew; None while it is well."""
        resource, silent = self._metrics.oldest_watch()
        if silent > WATCH_SILENCE_SECONDS:
            return f"the watch of {resource} has been silent for {silent:.0f} s"
        if self.longest_reconcile() > RECONCILE_SECONDS:
            return f"a reconcile has taken {self.longest_reconcile():.0f} s"
        return None

    async def measure_lag(self) -> None:
        """How late the event loop is; runs until cancelled."""
        while True:
            before = time.monotonic()
            await asyncio.sleep(LAG_PERIOD_SECONDS)
            self._metrics.loop_lag.set(max(0.0, time.monotonic() - before - LAG_PERIOD_SECONDS))

    def app(self) -> web.Application:
        app = web.Application()
        app.router.add_get("/healthz", self._healthz)
        app.router.add_get("/readyz", self._readyz)
        app.router.add_get("/metrics", self._serve_metrics)
        app.router.add_get("/metrics/operator", self._serve_own_metrics)
        return app

    async def _healthz(self, request: web.Request) -> web.Response:
        wrong = self.complaint()
        return web.Response(status=503 if wrong else 200, text=wrong or "ok")

    async def _readyz(self, request: web.Request) -> web.Response:
        # A standby is ready: it stands by. Only the leader's address is behind the progress service.
        return web.Response(text="ok")

    async def _serve_metrics(self, request: web.Request) -> web.Response:
        # Thousands of jobs are megabytes: the loop must not stand still meanwhile.
        return _metrics_page(await asyncio.to_thread(self._metrics.page))

    async def _serve_own_metrics(self, request: web.Request) -> web.Response:
        return _metrics_page(self._metrics.own())


def _metrics_page(body: bytes) -> web.Response:
    return web.Response(body=body, headers={"Content-Type": CONTENT_TYPE_LATEST})


async def listen(health: Health, port: int) -> web.AppRunner:
    runner = web.AppRunner(health.app(), access_log=None)
    await runner.setup()
    await web.TCPSite(runner, port=port).start()
    return runner
