"""What Prometheus reads of a worker, by its process with local rank 0: made at each scrape, so that steps cost nothing."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator, Mapping

from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from paceline_trainer.usage import Usage
from paceline_trainer.watching.devices import memory_bytes

PORT = "PACELINE_METRICS_PORT"


class Metrics(Collector):
    """Without labels of rank, step or pod: the scrape adds the pod. Loss, rate and counts are the whole job's, the same in every
    worker; a step's parts and memory are this process's own."""

    def __init__(self, usage: Usage) -> None:
        self._usage = usage

    def describe(self) -> list[Metric]:
        return []  # nothing to check at registration

    def collect(self) -> Iterator[Metric]:
        latest, times, here = self._usage.latest, self._usage.times, self._usage.here()
        if latest is not None:
            yield from _gauge("loss", "Of the newest step: the mean over the global batch.", latest.loss)
            yield from _gauge("learning_rate", "Of the newest step.", latest.learning_rate)
            yield from _gauge("samples_per_second", "Over all processes.", latest.samples_per_second)
        if times is not None and times.mean is not None:
            parts = GaugeMetricFamily(
                "paceline_trainer_step_seconds", "What a step takes, mean of those looked at.", labels=["part"]
            )
            for part, seconds in dataclasses.asdict(times.mean).items():
                parts.add_metric([part], seconds)
            yield parts
        yield from _counter("steps", "Steps since this process began.", here.steps)
        yield from _counter("samples", "Samples trained on since this process began, by all processes.", here.samples)
        yield from _counter("tokens", "Tokens of these samples, without padding.", here.tokens)
        what = "Memory that torch has allocated on the GPU; without one, the process's resident set."
        yield from _gauge("memory_bytes", what, memory_bytes(self._usage.device))


def serve(usage: Usage, environ: Mapping[str, str] = os.environ) -> None:
    """Where the environment says on which port, in the process with local rank 0, to the process's end. A port that is taken is
    said; it ends nothing."""
    port = environ.get(PORT)
    if not port or environ.get("LOCAL_RANK", "0") != "0":
        return
    registry = CollectorRegistry()
    registry.register(Metrics(usage))
    try:
        start_http_server(int(port), registry=registry)
    except (OSError, ValueError, OverflowError) as error:
        print(f"metrics are not served on port {port}, the run goes on without: {error}", flush=True)


def _gauge(name: str, what: str, value: float | None) -> Iterator[Metric]:
    """Nothing where it is not known."""
    if value is not None:
        yield GaugeMetricFamily(f"paceline_trainer_{name}", what, value)


def _counter(name: str, what: str, value: int | None) -> Iterator[Metric]:
    """Nothing where it is not known."""
    if value is not None:
        yield CounterMetricFamily(f"paceline_trainer_{name}", what, value)
