"""The operator as a process of this machine, with the chart's defaults."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

from bench.outside import until
from tests.kube import ROOT, requests

METRICS = "http://127.0.0.1:18190/metrics"


class OperatorProcess:
    def __init__(self, log: Path) -> None:
        self._log = log
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    async def start(self) -> None:
        self._launch()
        await until(f"the operator leads (its log: {self._log})", lambda: "paceline_leader 1.0" in self._metrics(), 60)

    def _launch(self) -> None:
        command = [
            sys.executable,
            "-m",
            "paceline",
            "operator",
            "--trainer-image=trainer:1",
            "--job-disruption-budgets",
        ]
        command += ["--metrics-port=18190", "--log-format=text"]
        env = {**os.environ, "PYTHONPATH": str(ROOT / "operator")}
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log, env=env)

    def stop(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            self._process.wait(60)

    def idle(self) -> bool:
        return "paceline_workqueue_depth 0.0" in self._metrics()

    def asked(self) -> dict[str, int]:
        """Its requests so far, by verb. The lease's are among them: one PUT in some seconds."""
        return requests(METRICS)

    def _metrics(self) -> str:
        try:
            with urllib.request.urlopen(METRICS, timeout=10) as answer:
                text: str = answer.read().decode()
        except OSError:
            return ""
        return text
