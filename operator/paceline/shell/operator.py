"""The operator process, from start to end."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import time
from collections.abc import Coroutine
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from paceline.api import COMPRESSION_PLURAL, PLURAL
from paceline.controller import records
from paceline.controller.compression import CompressionController
from paceline.controller.compression_metrics import CompressionMetrics
from paceline.controller.controller import Controller
from paceline.controller.job_metrics import JobMetrics
from paceline.controller.logs import LogFollower
from paceline.controller.metrics import Metrics
from paceline.controller.prometheus import Poller, Source
from paceline.cost.prices import Machine
from paceline.kube.client import Client
from paceline.kube.config import Cluster, load
from paceline.kube.lease import LeadershipLostError, Lease
from paceline.kube.reflector import Reflector
from paceline.plan.recipes import Catalogue
from paceline.render.guards import Fence
from paceline.render.names import LABEL_JOB_UID
from paceline.render.pods import Installation
from paceline.server import health, progress
from paceline.server.auth import Authenticator
from paceline.shell import pricebooks
from paceline.shell.endpoints import point_service_at
from paceline.shell.kopf_shell import watch_jobs

log = logging.getLogger(__name__)

LEASE_NAME = "paceline-operator"
# Requests at once that do not wait behind those of jobs: the lease's, which is lost after ten seconds, and reviews of tokens,
# for which workers wait. After a storm, hundreds wait in line.
AHEAD_AT_ONCE = 4


@dataclass(frozen=True)
class Options:
    """How this operator was started; the chart sets all of it."""

    trainer_image: str
    metrics_port: int = 8080
    progress_port: int = 8443
    # Host name of the progress service, SERVICE.NAMESPACE.svc; empty: no progress endpoint.
    progress_host: str = ""
    progress_tls_dir: Path = Path("/etc/paceline/tls")
    lease_namespace: str = "default"
    # Folder of the price books, NAME.csv; None: no prices.
    price_books: Path | None = None
    # What stands around every gang; None: no network policy.
    fence: Fence | None = None
    disruption_budgets: bool = False
    # How long the series of a job that has ended are served.
    finished_series_seconds: float = 3600
    # Who measures the use of devices; None: nobody.
    prometheus: Source | None = None
    identity: str = ""
    pod_ip: str = ""


async def serve(options: Options, recipes: Catalogue, methods: Catalogue) -> int:
    """Runs until a signal (returns 0) or until leadership is lost (returns 1: the next process starts clean)."""
    stop = asyncio.Event()
    _stop_on_signals(stop)
    cluster = load()
    metrics = Metrics()
    async with AsyncExitStack() as stack:
        client = Client(cluster, metrics.api_request)
        stack.push_async_callback(client.close)
        ahead = Client(cluster, metrics.api_request, AHEAD_AT_ONCE)
        stack.push_async_callback(ahead.close)
        probes = health.Health(metrics)
        stack.push_async_callback((await health.listen(probes, options.metrics_port)).cleanup)
        identity = options.identity or f"{os.uname().nodename}-{os.getpid()}"
        lease = Lease(ahead, options.lease_namespace, LEASE_NAME, identity, time.monotonic)
        log.info("standing by", extra={"server": cluster.server, "identity": identity})
        if not await _unless(stop, lease.acquire()):
            return 0
        metrics.leader.set(1)
        stack.push_async_callback(lease.release)
        try:
            await _unless(
                stop, _lead(options, recipes, methods, cluster, client, ahead, metrics, probes, lease, stack, stop)
            )
        except BaseExceptionGroup as group:
            if group.subgroup(LeadershipLostError) is None:
                raise
            log.error("leadership lost: ending")
            return 1
    log.info("ended")
    return 0


async def _lead(
    options: Options,
    recipes: Catalogue,
    methods: Catalogue,
    cluster: Cluster,
    client: Client,
    ahead: Client,
    metrics: Metrics,
    probes: health.Health,
    lease: Lease,
    stack: AsyncExitStack,
    stop: asyncio.Event,
) -> None:
    """All that a leader does, at once, until one part of it fails or the process is stopped."""
    here = Installation(options.trainer_image, fence=options.fence, disruption_budgets=options.disruption_budgets)
    if options.progress_host:
        ca = (options.progress_tls_dir / "ca.crt").read_text(encoding="utf-8")
        url = f"https://{options.progress_host}:{options.progress_port}"
        here = replace(here, progress_url=url, progress_ca=ca)
    controller = Controller(client, here, recipes, metrics)
    compression = CompressionController(client, recipes, methods, options.trainer_image, metrics)
    controller.on_job(compression.training_job_changed)
    metrics.pages.append(CompressionMetrics(compression.jobs, time.time, options.finished_series_seconds).page)
    job_metrics = JobMetrics(controller.jobs, time.time, options.finished_series_seconds)
    metrics.pages.append(job_metrics.page)
    controller.on_report(job_metrics.reported)
    controller.on_gone(job_metrics.forget)
    follower = LogFollower(client, controller.report)
    server = progress.ProgressServer(controller, Authenticator(ahead, controller.pods, time.monotonic), time.time)
    controller.on_change(follower.changed)
    controller.on_gone(follower.gone)
    controller.on_gone(server.forget)
    queues = (controller.queue, compression.queue)
    probes.longest_reconcile = lambda: max(queue.longest_in_flight() for queue in queues)
    pods = Reflector(
        client,
        "/api/v1/pods",
        controller.pods,
        records.pod,
        alive=lambda: metrics.alive("pods"),
        labelSelector=LABEL_JOB_UID,
    )
    nodes = Reflector(client, "/api/v1/nodes", controller.nodes, records.node, alive=lambda: metrics.alive("nodes"))
    async with asyncio.TaskGroup() as group:
        group.create_task(lease.hold())
        group.create_task(probes.measure_lag())
        group.create_task(pods.run())
        group.create_task(nodes.run())
        if options.price_books is not None:

            def use_books(books: dict[str, list[Machine]]) -> None:
                controller.use_books(books)
                compression.use_books(books)

            group.create_task(pricebooks.follow(options.price_books, use_books))
        # A job without its pods in the cache would look like one whose pods are gone.
        await pods.synced.wait()
        await nodes.synced.wait()
        if options.progress_host:
            stack.push_async_callback(
                (await progress.listen(server, options.progress_port, options.progress_tls_dir)).cleanup
            )
            service = options.progress_host.split(".")[0]
            address = (options.identity, options.pod_ip, options.progress_port)
            await point_service_at(client, options.lease_namespace, service, *address)
        if options.prometheus is not None:
            poller = Poller(options.prometheus, controller.pods.values, controller.use_measured, time.time)
            group.create_task(poller.run())
        group.create_task(controller.run())
        group.create_task(compression.run())
        handlers = {
            PLURAL: lambda obj, deleted: controller.job_event(obj, deleted=deleted),
            COMPRESSION_PLURAL: lambda obj, deleted: compression.job_event(obj, deleted=deleted),
        }
        group.create_task(watch_jobs(cluster, handlers, lambda: _stop_on_signals(stop)))
        log.info("watching", extra={"pods": len(controller.pods), "nodes": len(controller.nodes)})


def _stop_on_signals(stop: asyncio.Event) -> None:
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)


async def _unless(stop: asyncio.Event, work: Coroutine[Any, Any, None]) -> bool:
    """Waits for the work, or for the signal to stop; then the work is cancelled. True if the work ended by itself."""
    task = asyncio.create_task(work)
    stopped = asyncio.create_task(stop.wait())
    await asyncio.wait({task, stopped}, return_when=asyncio.FIRST_COMPLETED)
    stopped.cancel()
    if task.done():
        await task
        return True
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    return False
