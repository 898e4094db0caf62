"""Training on two real nodes, disturbed. `make chaos` runs all of it; `make e2e` runs what is marked short.

Recovery times are written to .state/chaos.jsonl and printed as a table in the end: median and worst of all rounds.
"""

from __future__ import annotations

import functools
import json
import statistics
import uuid
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any

import pytest

from devcluster import paths
from tests.chaos import faults
from tests.chaos.training import EPOCHS, Training, claim
from tests.e2e.conftest import pytest_sessionstart  # noqa: F401 - a hook: it installs the operator
from tests.kube import apply, get, kubectl, wait

RECORD = paths.STATE / "chaos.jsonl"
Recorder = Callable[[str, float], None]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--rounds", type=int, default=1, help="how often each fault is measured")
    parser.addoption("--minutes", type=float, default=15, help="how long faults come at random")
    parser.addoption("--seed", type=int, default=1, help="of the faults that come at random")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "round_" in metafunc.fixturenames:
        metafunc.parametrize("round_", range(metafunc.config.getoption("rounds")))


@pytest.fixture(scope="session")
def namespace() -> Iterator[str]:
    name = f"chaos-{uuid.uuid4().hex[:8]}"
    kubectl("create", "namespace", name)
    wait("its service account", lambda: "default" in kubectl("get", "serviceaccount", "-n", name, "-o", "name"))
    apply(claim(name))
    yield name
    kubectl("delete", "namespace", name, "--timeout=180s")


@pytest.fixture
def training(namespace: str) -> Iterator[Callable[..., Training]]:
    """Makes a training run; nodes are mended and the run is gone afterwards, with all that it left."""
    made: list[Training] = []

    def make(**spec: Any) -> Training:
        made.append(Training(f"run-{uuid.uuid4().hex[:6]}", namespace, **spec))
        return made[-1]

    yield make
    faults.mend_nodes()
    faults.spread_operators()
    for run in made:
        print(kubectl("get", "tj", run.name, "-n", namespace, "-o", "jsonpath={.status}", "--ignore-not-found"))
        kubectl("delete", "tj", run.name, "-n", namespace, "--timeout=120s", "--ignore-not-found")
        selector = f"paceline.dev/job-name={run.name}"
        wait("nothing of it is left", lambda: not get("pods,services", namespace=namespace, selector=selector), 120)  # noqa: B023


@pytest.fixture(scope="session")
def undisturbed(namespace: str, record: Recorder) -> Callable[..., str]:
    """SHA-256 of the model that nothing has disturbed; and how long a start takes on this machine."""

    @functools.cache
    def sha256(epochs: int = EPOCHS) -> str:
        run = Training("undisturbed", namespace, epochs=epochs)
        run.start(steps=1)
        began = run.worker(0)["status"]["containerStatuses"][0]["state"]["running"]["startedAt"]
        first = min(p.stat().st_mtime for p in run.folder().glob("step-*/manifest.json"))
        model: str = run.end()["model"]["sha256"]
        record(
            "(beside: a worker's start to its first checkpoint, undisturbed)",
            first - datetime.fromisoformat(began).timestamp(),
        )
        kubectl("delete", "tj", "undisturbed", "-n", namespace)
        return model

    return sha256


@pytest.fixture(scope="session")
def record() -> Recorder:
    RECORD.parent.mkdir(parents=True, exist_ok=True)
    RECORD.unlink(missing_ok=True)

    def write(what: str, seconds: float) -> None:
        with RECORD.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"what": what, "seconds": round(seconds, 1)}) + "\n")

    return write


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if not RECORD.exists():
        return
    times: dict[str, list[float]] = {}
    for line in RECORD.read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        times.setdefault(row["what"], []).append(row["seconds"])
    terminalreporter.write_sep("=", "seconds until training steps again")
    terminalreporter.write_line("| fault | median | worst | rounds |\n| --- | --- | --- | --- |")
    for what, seconds in times.items():
        terminalreporter.write_line(
            f"| {what} | {statistics.median(seconds):.1f} | {max(seconds):.1f} | {len(seconds)} |"
        )
