"""One operator as a process on this machine, against a real API server with kwok's nodes.

Run by `make cluster-test`, which brings the cluster up and runs pytest inside its network.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import urllib.request
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from tests import certificates
from tests.kube import ROOT, define_kinds, kubectl, requests, wait

TLS_HOST = "localhost"
# Where operators look for a Prometheus; only test_utilization has one there, and they do without meanwhile.
PROMETHEUS_PORT = 19090

# Orders of events that are tried, half a minute each: the same in every run. ARGS=--hypothesis-profile=search looks for more.
settings.register_profile("same", derandomize=True, max_examples=4)
settings.register_profile("search", max_examples=50)
settings.load_profile("same")


class Operator:
    """An operator process, which a test may kill and start again."""

    def __init__(self, folder: Path, number: int) -> None:
        self.metrics_port, self.progress_port = 18080 + number, 18443 + number
        self._folder, self._number = folder, number
        self._process: subprocess.Popen[bytes] | None = None
        self.guards = ["--job-disruption-budgets"]  # as the chart's defaults have it

    @property
    def metrics_url(self) -> str:
        return f"http://127.0.0.1:{self.metrics_port}/metrics"

    def start(self) -> None:
        log = (self._folder / f"operator-{self._number}.log").open("ab")
        self._process = subprocess.Popen(
            [
                sys.executable, "-m", "paceline", "operator", "--trainer-image=trainer:1", "--log-format=text",
                f"--metrics-port={self.metrics_port}", f"--progress-port={self.progress_port}",
                f"--progress-host={TLS_HOST}", f"--progress-tls-dir={self._folder}", "--pod-ip=172.31.240.1",
                f"--prometheus-url=http://127.0.0.1:{PROMETHEUS_PORT}", "--prometheus-every-seconds=1",
                f"--identity=operator-{self._number}-{uuid.uuid4().hex[:6]}", *self.guards,
            ],
            stdout=log, stderr=log, env={**os.environ, "PYTHONPATH": str(ROOT / "operator")},
        )  # fmt: skip

    def signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)
        self._process.wait(30)

    def leads(self) -> bool:
        return "paceline_leader 1.0" in self.metrics()

    def metrics(self) -> str:
        """The metrics page; empty while the process does not serve it."""
        try:
            with urllib.request.urlopen(self.metrics_url, timeout=5) as answer:
                text: str = answer.read().decode()
        except OSError:
            return ""
        return text

    def log(self) -> str:
        return (self._folder / f"operator-{self._number}.log").read_text(encoding="utf-8")

    def requests(self) -> dict[str, int]:
        return requests(self.metrics())

    def stop(self) -> None:
        if self._process and self._process.poll() is None:
            self.signal(signal.SIGTERM)


@pytest.fixture(scope="session")
def tls(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a CA and a certificate for localhost."""
    folder = tmp_path_factory.mktemp("operator")
    certificates.make(folder, TLS_HOST)
    return folder


@pytest.fixture(scope="session", autouse=True)
def crds() -> None:
    define_kinds()


@pytest.fixture(scope="session")
def operator(crds: None, tls: Path) -> Iterator[Operator]:
    process = Operator(tls, 0)
    process.start()
    try:
        wait("the operator leads", process.leads)
        yield process
    finally:
        process.stop()
        print(process.log()[-20000:])


@pytest.fixture
def standby(tls: Path) -> Iterator[Operator]:
    process = Operator(tls, 1)
    yield process
    process.stop()


@pytest.fixture
def namespace() -> Iterator[str]:
    """A namespace of the test's own; gone afterwards, with all that is in it."""
    name = f"test-{uuid.uuid4().hex[:8]}"
    kubectl("create", "namespace", name)
    yield name
    kubectl("delete", "namespace", name, "--wait=false")
