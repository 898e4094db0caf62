"""A real Prometheus that scrapes DCGM's series in both styles: what the operator makes of them, and that it does without."""

from __future__ import annotations

import asyncio
import json
import logging
import socket
import subprocess
import threading
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import aiohttp
import pytest
import yaml

from devcluster import packages
from paceline.controller.prometheus import Poller, Source
from paceline.controller.utilization import FRESH_SECONDS
from paceline.cost.lookup import Amounts
from paceline.plan.observed import Container, Measured, PodRecord
from tests.cluster.conftest import PROMETHEUS_PORT, Operator
from tests.figures import read
from tests.kube import Json, apply, job, pods, status, wait, wait_phase

ACTIVE, UTIL = "DCGM_FI_PROF_GR_ENGINE_ACTIVE", "DCGM_FI_DEV_GPU_UTIL"
BLANK = 9223372036854775794  # what DCGM writes where it knows nothing


def device(series: str, gpu: int, pod: str, value: float, namespace: str = "team") -> str:
    """A line of the exporter; a device that no pod has lacks the pod's labels."""
    whose = f',container="trainer",namespace="{namespace}",pod="{pod}"' if pod else ""
    return f'{series}{{gpu="{gpu}",UUID="GPU-{gpu}",modelName="NVIDIA H100",Hostname="node"{whose}}} {value}'


# By path, what an exporter serves: one of a node that can profile, and one of a node that cannot.
PAGES = {
    "/profiling": [
        device(ACTIVE, 0, "a-1-0", 0.8), device(UTIL, 0, "a-1-0", 100),
        device(ACTIVE, 1, "a-1-0", 0.4), device(UTIL, 1, "a-1-0", 100),
        device(ACTIVE, 2, "a-1-1", 0.6), device(UTIL, 2, "a-1-1", 100),
        device(ACTIVE, 3, "hung-1-0", 0), device(UTIL, 3, "hung-1-0", 100),
        device(ACTIVE, 4, "", 0), device(UTIL, 4, "", 0),
    ],
    "/older": [
        device(UTIL, 0, "b-1-0", 50), device(UTIL, 1, "b-1-0", 70),
        device(UTIL, 2, "blank-1-0", BLANK),
    ],
    "/cluster": [],
}  # fmt: skip


class Exporter(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        body = "\n".join([f"# TYPE {ACTIVE} gauge", f"# TYPE {UTIL} gauge", *PAGES[self.path], ""]).encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/plain; version=0.0.4")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def exporter() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Exporter)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def scrape(exporter: str, path: str, honor_labels: bool) -> dict[str, object]:
    """As Prometheus finds the exporter's pods: with their own namespace and pod, which win where honor_labels is false."""
    target = {"targets": [exporter], "labels": {"namespace": "gpu-operator", "pod": f"dcgm{path.replace('/', '-')}"}}
    return {
        "job_name": path,
        "metrics_path": path,
        "scrape_interval": "1s",
        "honor_labels": honor_labels,
        "static_configs": [target],
    }


@pytest.fixture
def folder(exporter: str, tmp_path: Path) -> Path:
    """Of a Prometheus that scrapes exporters in either style."""
    packages.install({"prometheus": "prometheus"})
    scrapes = [scrape(exporter, path, honor_labels=path == "/older") for path in PAGES]
    (tmp_path / "prometheus.yaml").write_text(yaml.safe_dump({"scrape_configs": scrapes}), encoding="utf-8")
    return tmp_path


@contextmanager
def prometheus(folder: Path, port: int) -> Iterator[None]:
    command = [
        "prometheus", f"--config.file={folder}/prometheus.yaml", f"--storage.tsdb.path={folder}/data",
        f"--web.listen-address=127.0.0.1:{port}",
    ]  # fmt: skip
    with (folder / "prometheus.log").open("ab") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)

    def scraped() -> bool:
        assert process.poll() is None, (folder / "prometheus.log").read_text(encoding="utf-8")
        return devices(port) == sum(map(len, PAGES.values()))

    try:
        wait("Prometheus has scraped all exporters", scraped)
        yield
    finally:
        process.terminate()
        process.wait()


def devices(port: int) -> int:
    query = urllib.parse.urlencode({"query": f'{{__name__=~"{ACTIVE}|{UTIL}"}}'})
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/api/v1/query?{query}", timeout=5) as answer:
            return len(json.load(answer)["data"]["result"])
    except OSError:
        return 0


def free_port() -> int:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        port: int = held.getsockname()[1]
        return port


def worker(name: str) -> PodRecord:
    """Of the job that its name begins with; it runs since before the first scrape."""
    job = name.split("-", maxsplit=1)[0]
    return PodRecord(
        namespace="team", name=name, uid=name, resource_version=1, job_name=job, job_uid=job, attempt=1, role="worker", index=0,
        phase="Running", created_at=0.0, container=Container(running_since=1.0), asks=Amounts(gpus=2),
    )  # fmt: skip


PODS = [worker(name) for name in ("a-1-0", "a-1-1", "hung-1-0", "b-1-0", "blank-1-0", "untold-1-0")]


class Clock:
    """The real time, and what a test adds to it."""

    ahead = 0.0

    def __call__(self) -> float:
        return time.time() + self.ahead


async def test_ratios_by_job_and_prometheus_may_go_and_come_back(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "paceline.controller.prometheus")
    port, clock, told = free_port(), Clock(), list[dict[str, Measured]]()
    poller = Poller(Source(f"http://127.0.0.1:{port}/"), lambda: PODS, told.append, clock)
    async with aiohttp.ClientSession() as session:

        async def poll() -> dict[str, Measured]:
            await poller.poll(session)
            return told[-1]

        with prometheus(folder, port):
            found = await poll()
            assert {job: (round(each.utilization, 6), each.source) for job, each in found.items()} == {
                "a": (0.6, ACTIVE),
                "hung": (0.0, ACTIVE),
                "b": (0.6, UTIL),
            }
            assert all(abs(time.time() - each.time) < FRESH_SECONDS for each in found.values())
        for _ in range(3):
            assert await poll() == found, "what it said last still holds"
        clock.ahead = FRESH_SECONDS
        assert await poll() == {}, "and holds no longer than it is fresh"
        clock.ahead = 0.0
        with prometheus(folder, port):
            assert set(await poll()) == set(found)
            await poll()
    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO"], "each of both is told once"
    assert "Prometheus does not tell the use of devices" in caplog.text


async def test_series_that_are_not_there_and_queries_that_are_none_end_nothing(folder: Path) -> None:
    port, told = free_port(), list[dict[str, Measured]]()
    with prometheus(folder, port):
        async with aiohttp.ClientSession() as session:
            for source in (
                Source(f"http://127.0.0.1:{port}", active="renamed", utilization="renamed_too"),
                Source(f"http://127.0.0.1:{port}", active="no name"),
                Source(f"http://127.0.0.1:{port}/elsewhere"),
                Source("http://127.0.0.1:1"),
            ):
                await Poller(source, lambda: PODS, told.append, time.time).poll(session)
    assert told == [{}, {}, {}, {}]


async def test_without_pods_that_have_devices_nothing_is_asked(caplog: pytest.LogCaptureFixture) -> None:
    told = list[dict[str, Measured]]()
    async with aiohttp.ClientSession() as session:
        await Poller(Source("http://127.0.0.1:1"), list, told.append, time.time).poll(session)
    assert told == [{}]
    assert not caplog.records


async def test_it_asks_again_and_again_until_it_is_cancelled(folder: Path) -> None:
    port, told = free_port(), list[dict[str, Measured]]()
    with prometheus(folder, port):
        source = Source(f"http://127.0.0.1:{port}", every_seconds=0.05)
        task = asyncio.create_task(Poller(source, lambda: PODS, told.append, time.time).run())
        async with asyncio.timeout(60):
            while len(told) < 3:
                await asyncio.sleep(0.05)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    assert task.cancelled()
    assert all(set(each) == {"a", "hung", "b"} for each in told)


def test_the_operator_writes_what_prometheus_tells_of_a_jobs_devices(
    operator: Operator, namespace: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    apply(job("used", namespace, resources={"limits": {"nvidia.com/gpu": 2}}))
    wait_phase("used", namespace, "Running")
    names = [pod["metadata"]["name"] for pod in pods("used", namespace)]
    shares = [0.9, 0.7, 0.5, 0.3]
    page = [device(ACTIVE, n, names[n // 2], share, namespace) for n, share in enumerate(shares)]
    monkeypatch.setitem(PAGES, "/cluster", page)
    with prometheus(folder, PROMETHEUS_PORT):
        found = wait("the status has it", lambda: utilization("used", namespace))
        assert (found["ratio"], found["source"]) == ("0.600", ACTIVE)
        served = wait(
            "the metric is served", lambda: of_job(operator, namespace).get("paceline_job_gpu_utilization_ratio")
        )
        assert served == {"": 0.6}
        assert set(of_job(operator, namespace)["paceline_job_gpu_seconds_total"]) >= {'state="allocated"'}


def utilization(name: str, namespace: str) -> Json | None:
    found: Json | None = status(name, namespace).get("utilization")
    return found


def of_job(operator: Operator, namespace: str) -> dict[str, dict[str, float]]:
    return read("\n".join(line for line in operator.metrics().splitlines() if f'namespace="{namespace}"' in line))
