"""A real Prometheus beside the cluster: a process in its network, that scrapes the operator and the trainers as the chart's
monitors have them scraped, and a stand-in for DCGM's exporter where there are no GPUs."""

from __future__ import annotations

import json
import subprocess
import threading
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import yaml

from devcluster import packages
from devcluster.network import API_SERVER_IP
from tests.kube import ROOT, Json, get, wait

# Where the operator's pods reach it.
ADDRESS = f"{API_SERVER_IP}:9090"
RULES = sorted((ROOT / "charts/paceline/files/rules").glob("*.yaml"))
SCRAPE_SECONDS = 2
OPERATOR, WORKER = "app.kubernetes.io/name=paceline", "paceline.dev/role=worker"
GPU, ACTIVE = "nvidia.com/gpu", "DCGM_FI_PROF_GR_ENGINE_ACTIVE"


def _labels(pod: Json) -> dict[str, str]:
    return {"namespace": pod["metadata"]["namespace"], "pod": pod["metadata"]["name"]}


def _running(selector: str) -> list[Json]:
    return [
        pod
        for pod in get("pods", selector=selector)
        if pod["status"].get("podIP") and pod["status"]["phase"] == "Running"
    ]


def _targets(pod: Json, labels: dict[str, str]) -> list[Json]:
    """What Prometheus' own discovery would find; Debian builds it without the one for Kubernetes."""
    ports = [port for container in pod["spec"]["containers"] for port in container.get("ports", [])]
    address = pod["status"]["podIP"]
    return [
        {"targets": [f"{address}:{port['containerPort']}"], "labels": labels}
        for port in ports
        if port.get("name") == "metrics"
    ]


class Exporter(BaseHTTPRequestHandler):
    """Serves what DCGM's would of the workers' devices: the first is in use half of the time, each next one a little less."""

    page = ""

    def do_GET(self) -> None:
        body = self.page.encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/plain; version=0.0.4")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


def _discover(folder: Path, over: threading.Event) -> None:
    while not over.wait(SCRAPE_SECONDS):
        operators, workers = _running(OPERATOR), _running(WORKER)
        found = {"paceline": [t for pod in operators for t in _targets(pod, _labels(pod))]}
        found["workers"] = []
        for pod in workers:
            job = pod["metadata"]["labels"]["paceline.dev/job-name"]
            found["workers"] += _targets(pod, _labels(pod) | {"job": job, "job_name": job})
        for name, targets in found.items():
            partial = folder / f"{name}.partial"
            partial.write_text(json.dumps(targets), encoding="utf-8")
            partial.rename(folder / f"{name}.json")
        Exporter.page = "".join(
            f'{ACTIVE}{{gpu="0",namespace="{where["namespace"]}",pod="{where["pod"]}"}} {0.5 / (1 + number / 10):.2f}\n'
            for number, where in enumerate(
                _labels(pod) for pod in workers if GPU in pod["spec"]["containers"][0]["resources"].get("limits", {})
            )
        )


def config(folder: Path, exporter: str) -> Json:
    def files(name: str, *, honor: bool) -> Json:
        return {
            "job_name": name,
            "honor_labels": honor,
            "file_sd_configs": [{"files": [f"{folder}/{name}.json"]}],
        }

    return {
        "global": {"scrape_interval": f"{SCRAPE_SECONDS}s", "evaluation_interval": "5s"},
        "rule_files": [str(file) for file in RULES],
        "scrape_configs": [
            files("paceline", honor=True),  # the series' own label `job` is the training job
            files("workers", honor=False),
            {"job_name": "dcgm", "honor_labels": True, "static_configs": [{"targets": [exporter]}]},
        ],
    }


class Prometheus:
    def ask(self, path: str, **parameters: str | float) -> Any:
        """The answer's data. Raises urllib.error.HTTPError for a query that cannot be parsed."""
        url = f"http://{ADDRESS}/api/v1/{path}?{urllib.parse.urlencode(parameters)}"
        with urllib.request.urlopen(url, timeout=30) as answer:
            found = json.load(answer)
        assert found["status"] == "success", found
        return found["data"]

    def now(self, expr: str, at: float) -> list[Json]:
        found: list[Json] = self.ask("query", query=expr, time=at)["result"]
        return found

    def over(self, expr: str, start: float, end: float) -> list[Json]:
        found: list[Json] = self.ask("query_range", query=expr, start=start, end=end, step=SCRAPE_SECONDS)["result"]
        return found

    def rules(self) -> list[Json]:
        return [rule for group in self.ask("rules")["groups"] for rule in group["rules"]]


@contextmanager
def prometheus(folder: Path) -> Iterator[Prometheus]:
    packages.install({"prometheus": "prometheus"})
    exporter = ThreadingHTTPServer(("127.0.0.1", 0), Exporter)
    settings = config(folder, f"127.0.0.1:{exporter.server_port}")
    (folder / "prometheus.yaml").write_text(yaml.safe_dump(settings), encoding="utf-8")
    command = [
        "prometheus", f"--config.file={folder}/prometheus.yaml", f"--storage.tsdb.path={folder}/data",
        f"--web.listen-address={ADDRESS}",
    ]  # fmt: skip
    log, over = folder / "prometheus.log", threading.Event()
    threads = [threading.Thread(target=_discover, args=(folder, over)), threading.Thread(target=exporter.serve_forever)]
    with log.open("wb") as out:
        process = subprocess.Popen(command, stdout=out, stderr=out)
        for thread in threads:
            thread.start()
        try:

            def ready() -> bool:
                said = log.read_text(encoding="utf-8")
                assert process.poll() is None, said
                return "Server is ready to receive web requests" in said

            wait("Prometheus is ready", ready)
            yield Prometheus()
        finally:
            over.set()
            exporter.shutdown()
            for thread in threads:
                thread.join()
            exporter.server_close()
            process.terminate()
            process.wait()
