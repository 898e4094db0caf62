"""Workers that take keys off a queue: one object's trouble never ends the others' work."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

import aiohttp

from paceline.controller.metrics import Metrics
from paceline.controller.queue import Queue
from paceline.kube.client import ApiError

log = logging.getLogger(__name__)

# Reconciles in flight. Each mostly waits for the API server; the client bounds the requests themselves.
WORKERS = 64


async def work(
    queue: Queue, metrics: Metrics, reconcile: Callable[[str], Awaitable[None]], workers: int = WORKERS
) -> None:
    """``reconcile(key)`` for every key, again after an error; until cancelled."""
    async with asyncio.TaskGroup() as group:
        for _ in range(workers):
            group.create_task(_work(queue, metrics, reconcile))


async def _work(queue: Queue, metrics: Metrics, reconcile: Callable[[str], Awaitable[None]]) -> None:
    while True:
        key, waited = await queue.take()
        metrics.queue_latency.observe(waited)
        try:
            with metrics.reconcile_duration.time():
                await reconcile(key)
            queue.forget(key)
            metrics.reconcile_total.labels("success").inc()
        except (ApiError, aiohttp.ClientError, TimeoutError) as error:
            _failed(queue, metrics, key, error, expected=True)
        except Exception as error:
            # It is counted, told and retried.
            _failed(queue, metrics, key, error, expected=False)
        finally:
            queue.done(key)


def _failed(queue: Queue, metrics: Metrics, key: str, error: Exception, *, expected: bool) -> None:
    delay = queue.retry(key)
    metrics.queue_retries.inc()
    metrics.reconcile_total.labels("error").inc()
    tell = log.warning if expected else log.exception
    tell("reconcile failed, again in %.1f s: %s", delay, error, extra={"job": key})
