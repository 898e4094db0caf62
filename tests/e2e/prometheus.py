"""A real Prometheus beside the cluster: a process in its network, that scrapes the operator and the trainers as the chart's
monitors have them scraped."""

from __future__ import annotations

import json
import subprocess
import threading
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from devcluster import packages
from tests.kube import ROOT, Json, get, wait

ADDRESS = "127.0.0.1:9090"
RULES = sorted((ROOT / "charts/paceline/files/rules").glob("*.yaml"))
SCRAPE_SECONDS = 2
# Whose pods are scraped where they have a port named metrics: scrape's name to a label selector.
SCRAPES = {"paceline": "app.kubernetes.io/name=paceline", "paceline-trainers": "paceline.dev/role=worker"}


def targets(selector: str) -> list[Json]:
    """What Prometheus' own discovery would find; Debian builds it without the one for Kubernetes."""
    return [
        {
            "targets": [f"{pod['status']['podIP']}:{port['containerPort']}"],
            "labels": {
                "namespace": pod["metadata"]["namespace"],
                "pod": pod["metadata"]["name"],
                "job_name": pod["metadata"]["labels"].get("paceline.dev/job-name", ""),
            },
        }
        for pod in get("pods", selector=selector, everywhere=True)
        if pod["status"].get("podIP") and pod["status"]["phase"] == "Running"
        for container in pod["spec"]["containers"]
        for port in container.get("ports", [])
        if port.get("name") == "metrics"
    ]


def _discover(folder: Path, over: threading.Event) -> None:
    while not over.wait(SCRAPE_SECONDS):
        for name, selector in SCRAPES.items():
            partial = folder / f"{name}.partial"
            partial.write_text(json.dumps(targets(selector)), encoding="utf-8")
            partial.rename(folder / f"{name}.json")


def config(folder: Path) -> Json:
    return {
        "global": {"scrape_interval": f"{SCRAPE_SECONDS}s", "evaluation_interval": "5s"},
        "rule_files": [str(file) for file in RULES],
        "scrape_configs": [
            {
                "job_name": name,
                "honor_labels": True,  # the series' own label `job` is the training job
                "file_sd_configs": [{"files": [f"{folder}/{name}.json"]}],
            }
            for name in SCRAPES
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
    (folder / "prometheus.yaml").write_text(yaml.safe_dump(config(folder)), encoding="utf-8")
    command = [
        "prometheus", f"--config.file={folder}/prometheus.yaml", f"--storage.tsdb.path={folder}/data",
        f"--web.listen-address={ADDRESS}",
    ]  # fmt: skip
    log, over = folder / "prometheus.log", threading.Event()
    discovery = threading.Thread(target=_discover, args=(folder, over))
    with log.open("wb") as out:
        process = subprocess.Popen(command, stdout=out, stderr=out)
        discovery.start()
        try:

            def ready() -> bool:
                said = log.read_text(encoding="utf-8")
                assert process.poll() is None, said
                return "Server is ready to receive web requests" in said

            wait("Prometheus is ready", ready)
            yield Prometheus()
        finally:
            over.set()
            discovery.join()
            process.terminate()
            process.wait()
