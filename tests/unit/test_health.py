"""What the operator serves of itself over HTTP."""

from __future__ import annotations

from aiohttp.test_utils import TestClient, TestServer

from paceline.controller.metrics import Metrics
from paceline.server.health import Health


async def test_the_operators_own_metrics_are_served_without_those_of_jobs():
    metrics = Metrics()
    metrics.pages.append(lambda: b"paceline_job_info 1\n")
    async with TestClient(TestServer(Health(metrics).app())) as client:
        own = await client.get("/metrics/operator")
        assert own.content_type == "text/plain"
        assert "paceline_leader 0.0" in (text := await own.text())
        assert "paceline_job" not in text
        assert await (await client.get("/metrics")).text() == text + "paceline_job_info 1\n"
